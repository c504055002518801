/* SPDX-License-Identifier: MIT */
/*
 * verbs_resolver.c: the loop's resolver is the program's: it answers at once, later, wrong, with an
 * error, or with nothing, also when nobody waits any more, or the loop is gone.
 */
#include "swarm.h"

#define CODE_OF_ANSWER PCO_ERESOLVE

/* ---- Answers ---- */

/* What of the question the answer is: 0 is the plainest. */
typedef enum answer { TRUE_ANSWER, AN_ERROR, NOTHING, NO_CODE, ANSWERS_COUNT } answer;

static void answer_one(question *what, answer how)
{
    world *at = what->at;
    opening *of = what->of;
    pco_lookup *lookup = what->lookup;
    pco_address addresses[TARGETS_MOST];
    pco_error error = {.code = how == NO_CODE ? 12345 : CODE_OF_ANSWER};
    what->lookup = NULL;
    for (size_t i = 0; i < of->count; i++) {
        addresses[i] = of->targets[i].address;
        pco__address_set_port(&addresses[i], (int)i); /* does not count */
    }
    if (!what->canceled) {
        say(at, "the name of opening %u is answered: %d", of->id, (int)how);
        of->causes |= how == AN_ERROR                       ? cause_bit(CODE_OF_ANSWER)
                      : how == NO_CODE                      ? cause_bit(PCO_EUNKNOWN)
                      : how == NOTHING || of->expected == 0 ? cause_bit(PCO_ENONAME)
                                                            : 0;
    }
    enter_library(at, NULL);
    pco_lookup_answer(lookup, addresses, how == NOTHING ? 0 : of->count,
                      how == AN_ERROR || how == NO_CODE ? &error : NULL);
    leave_library(at);
    memset(addresses, 0, sizeof addresses); /* they were copied */
}

static answer pick_answer(world *at)
{
    return pick_rarely(at, 4) ? (answer)pick(at, ANSWERS_COUNT) : TRUE_ANSWER;
}

/* Inside the call that ended it. */
static void canceled(pco_lookup *lookup, void *context)
{
    question *what = context;
    world *at = what->at;
    inner outside = enter_inner(at, at->current, "nobody waits for a name", what->of->id);
    if (!what->hears || what->canceled || what->lookup != lookup ||
        !pco_lookup_is_canceled(lookup)) {
        broken(at, "a look-up was canceled twice, or after its answer, or nobody asked");
    }
    what->canceled = true;
    if (pick(at, 2) == 1) {
        answer_one(what, pick_answer(at));
    }
    act_in_callback(at);
    leave_inner(at, outside);
}

/* ---- The resolver ---- */

static opening *find_asker(const world *at, const char *host)
{
    for (opening *each = at->openings; each != NULL; each = each->next) {
        char name[32];
        snprintf(name, sizeof name, "name%u.example", each->id);
        if (each->shape == BY_NAME && strcmp(name, host) == 0) {
            return each;
        }
    }
    return NULL;
}

static void resolve(pco_loop *loop, pco_lookup *lookup, const pco_lookup_question *asked,
                    void *context)
{
    world *at = context;
    opening *of = find_asker(at, asked->host);
    enter_callback(at, NULL, "the resolver", of != NULL ? of->id : 0);
    if (of == NULL || of->told || of->canceled || at->freeing || loop != at->loop ||
        asked->size != sizeof *asked || pco_lookup_is_canceled(lookup)) {
        broken(at, "the resolver is asked for %s", asked->host);
    }
    if (at->questions_count == QUESTIONS_MOST) {
        broken(at, "a name is asked for more than once");
    }
    question *what = &at->questions[at->questions_count++];
    *what = (question){.lookup = lookup, .of = of, .at = at, .hears = pick(at, 3) != 1};
    if (what->hears) {
        pco_lookup_set_canceled(lookup, canceled, what);
    }
    if (pick(at, 2) == 0) {
        answer_one(what, pick_answer(at));
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void set_resolver(world *at)
{
    say(at, "the loop has a resolver of ours");
    enter_library(at, NULL);
    int code = pco_loop_set_resolver(at->loop, resolve, at);
    leave_library(at);
    if (code != 0 && !(code == PCO_ENOMEM && memory_was_short(at)) &&
        !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "set_resolver returned %s", pco_error_name(code));
    }
    at->has_resolver = at->has_resolver || code == 0;
}

/* ---- Questions ---- */

/* The loop that is being freed has told who hears of it; of the others we do not know. */
static bool is_open(const question *of)
{
    return of->lookup != NULL;
}

static bool has_question(const world *at)
{
    for (unsigned i = 0; i < at->questions_count; i++) {
        if (is_open(&at->questions[i])) {
            return true;
        }
    }
    return false;
}

static question *pick_question(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->questions_count; i++) {
        count += is_open(&at->questions[i]);
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->questions_count; i++) {
        if (is_open(&at->questions[i]) && nth-- == 0) {
            return &at->questions[i];
        }
    }
    return NULL;
}

static void answer_a_question(world *at)
{
    question *what = pick_question(at);
    bool waits = !what->of->told && !what->of->canceled && !at->freeing;
    if (waits && pco_lookup_is_canceled(what->lookup) && !what->of->expires) {
        broken(at, "the name of opening %u is not waited for any more", what->of->id);
    }
    answer_one(what, pick_answer(at));
}

static void hear(world *at)
{
    question *what = pick_question(at);
    if (pco_lookup_is_canceled(what->lookup)) {
        return; /* it is too late */
    }
    what->hears = pick(at, 2) == 1;
    say(at, "%s hears of the end of opening %u's name", what->hears ? "somebody" : "nobody",
        what->of->id);
    pco_lookup_set_canceled(what->lookup, what->hears ? canceled : NULL, what);
}

void answer_all(world *at)
{
    for (unsigned i = 0; i < at->questions_count; i++) {
        if (is_open(&at->questions[i])) {
            answer_one(&at->questions[i], TRUE_ANSWER);
        }
    }
}

const verb verbs_resolver[] = {
    {"set resolver", 6, ANYWHERE, NULL, set_resolver},
    {"answer a name", 14, ANYWHERE, has_question, answer_a_question},
    {"hear of a name", 3, ANYWHERE, has_question, hear},
    {.name = NULL},
};
