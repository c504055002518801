/* SPDX-License-Identifier: MIT */
/*
 * lookup.c: looking names up.
 *
 * A lookup goes on in steps, from task to task: a service's port first, which the system's list has
 * and a thread reads; then the host. Who waits for it may leave at any time. The lookup itself
 * stays as long as a resolver of the program's owes an answer; what a thread works on is a job of
 * its own.
 */
#include "loop/lookup.h"

#include <assert.h>
#include <string.h>

#include "loop/lanes.h"
#include "support/error.h"
#include "support/memory.h"

/* One question to the system, which blocks. The thread may outlive the lookup. */
typedef struct blocking {
    pco__job job;
    pco_lookup *lookup; /* the loop's thread alone looks; NULL: forgotten */
    const pco__network *network;
    pco__place place;
    char *host; /* copies, or NULL */
    char *service;
    int port; /* the answers */
    pco_address *found;
    size_t count;
    int code;
    pco_error error;
} blocking;

struct pco_lookup {
    pco_loop *loop;       /* not valid once it is forgotten */
    pco__looked_up *done; /* NULL: forgotten */
    void *context;
    pco__place place;
    char *host; /* copies, or NULL */
    char *service;
    pco__task task;
    blocking *blocking; /* under way, or NULL */
    bool is_asked;      /* the program's resolver owes an answer */
    bool is_answered;   /* these count: */
    pco_address *found;
    size_t count;
    int code;
    pco_error error;
    void (*canceled)(pco_lookup *lookup, void *context);
    void *canceled_context;
};

static void free_lookup(pco_lookup *lookup)
{
    pco__free(lookup->found);
    pco__free(lookup->host);
    pco__free(lookup->service);
    pco__free(lookup);
}

static int copy_string(const char *from, char **to)
{
    *to = from != NULL ? pco__strdup(from) : NULL;
    return from == NULL || *to != NULL ? 0 : PCO_ENOMEM;
}

/* ---- The program's resolver: a resident, which only keeps it ---- */

typedef struct resolver {
    pco__resident resident;
    pco_resolver call; /* NULL: the system's */
    void *context;
} resolver;

static void leave(pco__resident *resident)
{
    pco__free(PCO__CONTAINER(resident, resolver, resident));
}

static const pco__resident_class resolver_class = {.leave = leave};

static resolver *resolver_of(pco_loop *loop)
{
    pco__resident *found = pco__loop_find(loop, &resolver_class);
    return found != NULL ? PCO__CONTAINER(found, resolver, resident) : NULL;
}

int pco_loop_set_resolver(pco_loop *loop, pco_resolver call, void *context)
{
    pco__loop_check_thread(loop);
    if (loop->freeing) {
        return PCO_ECLOSED;
    }
    resolver *own = resolver_of(loop);
    if (own == NULL) {
        own = pco__calloc(sizeof *own);
        if (own == NULL) {
            return PCO_ENOMEM;
        }
        own->resident.class_ = &resolver_class;
        pco__loop_move_in_first(loop, &own->resident);
    }
    own->call = call;
    own->context = context;
    return 0;
}

/* ---- The end ---- */

static void tell(pco_lookup *lookup)
{
    pco_address *found = lookup->found;
    pco_error error = lookup->error;
    int code = lookup->code;
    size_t count = lookup->count;
    pco__looked_up *done = lookup->done;
    void *context = lookup->context;
    lookup->found = NULL;
    free_lookup(lookup);
    if (code != 0) {
        pco__free(found);
        done(context, NULL, 0, &error);
    } else {
        done(context, found, count, NULL);
    }
}

void pco__lookup_forget(pco_lookup *lookup)
{
    lookup->done = NULL;
    pco__loop_unschedule(lookup->loop, &lookup->task);
    if (lookup->blocking != NULL) {
        lookup->blocking->lookup = NULL;
        pco__job_cancel(lookup->loop, &lookup->blocking->job);
    }
    if (!lookup->is_asked) {
        free_lookup(lookup);
    } else if (lookup->canceled != NULL) {
        lookup->canceled(lookup, lookup->canceled_context);
    }
}

/* ---- On a thread ---- */

static void work(pco__job *job)
{
    blocking *own = PCO__CONTAINER(job, blocking, job);
    if (own->service != NULL) {
        own->code = own->network->resolve_service(own->service, &own->port, &own->error);
    } else {
        own->code = own->network->resolve(own->host, own->place.port, own->place.family,
                                          own->place.flags, &own->found, &own->count, &own->error);
    }
}

static void discard(pco__job *job)
{
    blocking *own = PCO__CONTAINER(job, blocking, job);
    pco__free(own->found);
    pco__free(own->host);
    pco__free(own->service);
    pco__free(own);
}

static void go_on(pco_lookup *lookup);

static void worked(pco__job *job, bool canceled)
{
    blocking *own = PCO__CONTAINER(job, blocking, job);
    pco_lookup *lookup = own->lookup;
    (void)canceled;
    if (lookup == NULL) {
        return;
    }
    assert(!canceled); /* who waits forgets it before the loop does */
    lookup->blocking = NULL;
    lookup->code = own->code;
    lookup->error = own->error;
    if (own->code == 0 && own->service != NULL) {
        pco__free(lookup->service);
        lookup->service = NULL;
        lookup->place.port = own->port;
    } else {
        lookup->is_answered = true;
        lookup->found = own->found;
        lookup->count = own->count;
        own->found = NULL;
    }
    go_on(lookup);
}

/* Has a thread answer: the service if there is one, or else the host. */
static int ask_the_system(pco_lookup *lookup, pco_error *error)
{
    blocking *own = pco__calloc(sizeof *own);
    int code = own != NULL ? 0 : PCO_ENOMEM;
    if (code == 0) {
        own->lookup = lookup;
        own->network = lookup->loop->backend->class_->network;
        own->place = lookup->place;
        own->job.work = work;
        own->job.done = worked;
        own->job.discard = discard;
        code = lookup->service != NULL ? copy_string(lookup->service, &own->service)
                                       : copy_string(lookup->host, &own->host);
    }
    if (code != 0) {
        pco__free(own);
        return pco__error_describe(error, code, 0, "look up a name");
    }
    code = pco__lanes_submit(lookup->loop, PCO__LANE_NAMES, &own->job, error);
    if (code != 0) {
        discard(&own->job);
    } else {
        lookup->blocking = own;
    }
    return code;
}

/* ---- By the program's resolver ---- */

static void ask_the_program(pco_lookup *lookup, const resolver *own)
{
    pco_lookup_question question = {.size = sizeof question,
                                    .host = lookup->host,
                                    .family = lookup->place.family,
                                    .flags = lookup->place.flags};
    lookup->is_asked = true;
    own->call(lookup->loop, lookup, &question, own->context);
}

/* Copies those of the family that is wanted. */
static void take_addresses(pco_lookup *lookup, const pco_address *addresses, size_t count)
{
    lookup->found = count != 0 ? pco__malloc(count * sizeof *lookup->found) : NULL;
    if (count != 0 && lookup->found == NULL) {
        lookup->code =
            pco__error_describe(&lookup->error, PCO_ENOMEM, 0, "resolve %s", lookup->host);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        int family = pco_address_family(&addresses[i]);
        bool fits = lookup->place.family == PCO_AF_UNSPEC
                        ? family == PCO_AF_INET || family == PCO_AF_INET6
                        : family == lookup->place.family;
        if (fits) {
            lookup->found[lookup->count] = addresses[i];
            pco__address_set_port(&lookup->found[lookup->count++], lookup->place.port);
        }
    }
    if (lookup->count == 0) {
        lookup->code =
            pco__error_describe(&lookup->error, PCO_ENONAME, 0, "resolve %s", lookup->host);
    }
}

/* Copies it; one that says nothing gets a sentence. */
static void take_error(pco_lookup *lookup, const pco_error *error)
{
    int code = pco__error_known(error->code);
    if (error->message[0] != '\0') {
        pco__error_set(&lookup->error, code, error->system_code, "%s", error->message);
    } else {
        pco__error_describe(&lookup->error, code, error->system_code, "resolve %s", lookup->host);
    }
    lookup->code = code;
}

void pco_lookup_answer(pco_lookup *lookup, const pco_address *addresses, size_t count,
                       const pco_error *error)
{
    if (lookup->done == NULL) {
        free_lookup(lookup);
        return;
    }
    pco__loop_check_thread(lookup->loop);
    assert(lookup->is_asked);
    lookup->is_asked = false;
    lookup->is_answered = true;
    if (error != NULL && error->code != 0) {
        take_error(lookup, error);
    } else {
        take_addresses(lookup, addresses, count);
    }
    pco__loop_schedule(lookup->loop, &lookup->task);
}

void pco_lookup_set_canceled(pco_lookup *lookup,
                             void (*canceled)(pco_lookup *lookup, void *context), void *context)
{
    lookup->canceled = canceled;
    lookup->canceled_context = context;
}

bool pco_lookup_is_canceled(const pco_lookup *lookup)
{
    return lookup->done == NULL;
}

/* ---- Literal addresses ---- */

int pco_address_parse(const char *host, int port, pco_address *address)
{
    pco_address *found;
    size_t count;
    if (host == NULL || port < 0 || port > 65535) {
        return PCO_EINVAL;
    }
    int code = pco__system_network.resolve(host, port, PCO_AF_UNSPEC, PCO_AI_NUMERICHOST, &found,
                                           &count, NULL);
    if (code != 0) {
        return code == PCO_ENOMEM ? code : PCO_EINVAL;
    }
    *address = found[0];
    pco__free(found);
    return 0;
}

static const char *family_name(int family)
{
    return family == PCO_AF_INET6 ? "IPv6" : "IPv4";
}

int pco__lookup_host(const pco__network *network, const char *host, int port, int family, int flags,
                     pco_address **addresses, size_t *count, pco_error *error)
{
    pco_error why = {0};
    pco_address *found;
    size_t found_count;
    int code = network->resolve(host, port, family, flags, addresses, count, &why);
    if (code == 0) {
        return 0;
    }
    if (code != PCO_ENOMEM && host != NULL && family != PCO_AF_UNSPEC &&
        network->resolve(host, port, PCO_AF_UNSPEC, PCO_AI_NUMERICHOST, &found, &found_count,
                         NULL) == 0) {
        int other = pco_address_family(&found[0]);
        pco__free(found);
        return pco__error_set(error, PCO_ENONAME, why.system_code,
                              "resolve %.80s: it is an %s address, and family asks for %s", host,
                              family_name(other), family_name(family));
    }
    if (error != NULL) {
        *error = why;
    }
    return code;
}

/* ---- The steps ---- */

/* Takes the host for a literal address of any family. PCO_ENOMEM; other failures: it is none. */
static int find_literal(pco_lookup *lookup)
{
    return lookup->loop->backend->class_->network->resolve(
        lookup->host, lookup->place.port, PCO_AF_UNSPEC, PCO_AI_NUMERICHOST, &lookup->found,
        &lookup->count, &lookup->error);
}

/* Answers what needs nobody: a literal address, no name at all, PCO_AI_NUMERICHOST. */
static bool answer_at_once(pco_lookup *lookup)
{
    const pco__place *place = &lookup->place;
    bool is_named = lookup->host != NULL && (place->flags & PCO_AI_NUMERICHOST) == 0;
    bool is_plain = place->family == PCO_AF_UNSPEC && place->flags == 0;
    int code = is_named ? find_literal(lookup) : 0;
    if (code != 0 && code != PCO_ENOMEM) {
        return false;
    }
    if (code == 0 && !(is_named && is_plain)) {
        int flags = place->flags | (lookup->host != NULL ? PCO_AI_NUMERICHOST : 0);
        pco__free(lookup->found);
        lookup->found = NULL;
        code =
            pco__lookup_host(lookup->loop->backend->class_->network, lookup->host, place->port,
                             place->family, flags, &lookup->found, &lookup->count, &lookup->error);
    }
    lookup->code = code;
    lookup->is_answered = true;
    return true;
}

static void go_on(pco_lookup *lookup)
{
    if (!lookup->is_answered && (lookup->service != NULL || !answer_at_once(lookup))) {
        const resolver *own = lookup->service == NULL ? resolver_of(lookup->loop) : NULL;
        if (own != NULL && own->call != NULL) {
            ask_the_program(lookup, own);
            return;
        }
        lookup->code = ask_the_system(lookup, &lookup->error);
        lookup->is_answered = lookup->code != 0;
    }
    if (lookup->is_answered) {
        tell(lookup);
    }
}

static void run_task(pco__task *task)
{
    go_on(PCO__CONTAINER(task, pco_lookup, task));
}

int pco__lookup_begin(pco_loop *loop, const pco__place *place, pco__looked_up *done, void *context,
                      pco_lookup **lookup)
{
    pco_lookup *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return PCO_ENOMEM;
    }
    made->loop = loop;
    made->done = done;
    made->context = context;
    made->place = *place;
    made->task.run = run_task;
    if (copy_string(place->host, &made->host) != 0 ||
        copy_string(place->service, &made->service) != 0) {
        free_lookup(made);
        return PCO_ENOMEM;
    }
    *lookup = made;
    go_on(made);
    return 0;
}
