/* SPDX-License-Identifier: MIT */
/* verbs_readers.c: sockets of somebody else, what can be done with them, and who wants to know. */
#include "swarm.h"

/* In so many turns whoever wants to know has been told, whatever ends late or stops the loop. */
#define TURNS_ENOUGH 5

enum { READING, WRITING };

static unsigned long turn_of(const world *at)
{
    return fake_of(at->loop)->turns;
}

static bool is_so(const foreign *of, unsigned way)
{
    return way == READING ? of->socket->input_length != 0 : of->socket->room != 0;
}

/* A loop that is being freed tells nobody any more. */
static bool is_heard(const world *at, const hearing *of)
{
    return of->by != NULL && !at->freeing;
}

static foreign *pick_foreign(world *at)
{
    foreign *of = &at->foreigns[pick(at, FOREIGNS)];
    if (of->socket == NULL) {
        of->socket = fake_socket_of(at->loop, fake_socket_new(at->loop));
        of->socket->room = 0;
    }
    return of;
}

static bool call_remove(world *at, const foreign *of, unsigned way)
{
    enter_library(at, NULL);
    bool there = way == READING ? pco_loop_remove_reader(at->loop, of->socket->number)
                                : pco_loop_remove_writer(at->loop, of->socket->number);
    leave_library(at);
    return there;
}

static void told(void *context)
{
    const hearer *by = context;
    world *at = by->at;
    foreign *of = &at->foreigns[by->which];
    hearing *way = &of->ways[by->way];
    unsigned long turn = turn_of(at);
    enter_callback(at, NULL, by->way == READING ? "readable" : "writable", by->which);
    if (!is_heard(at, way) || by != way->by) {
        broken(at, "who does not want to know was told of a socket");
    }
    if (way->told == turn) {
        broken(at, "of a socket was told twice in a turn");
    }
    if (!is_so(of, by->way) && turn > way->until + 1) {
        broken(at, "of a socket was told what is not so");
    }
    way->told = turn;
    way->since = turn;
    if (at->calm) { /* or the loop would never come to rest */
        if (!call_remove(at, of, by->way)) {
            broken(at, "a reader could not remove itself");
        }
        way->by = NULL;
    } else {
        act_in_callback(at);
    }
    leave_callback(at, NULL);
}

/* ---- Verbs ---- */

static void watch_socket(world *at)
{
    foreign *of = pick_foreign(at);
    unsigned which = pick(at, 2);
    hearing *way = &of->ways[which];
    hearer *by = &way->hearers[pick(at, 2)];
    int attach_error = fake_of(at->loop)->attach_error;
    pco_socket number = of->socket->number;
    say(at, "watch %s of socket %ld", which == READING ? "reading" : "writing", (long)number);
    *by = (hearer){.at = at, .which = (unsigned)(of - at->foreigns), .way = which};
    enter_library(at, NULL);
    int code = which == READING ? pco_loop_add_reader(at->loop, number, told, by, NULL)
                                : pco_loop_add_writer(at->loop, number, told, by, NULL);
    leave_library(at);
    if (code == 0 && !at->freeing) {
        way->by = by;
        way->since = turn_of(at);
    } else if (!(code == PCO_ENOMEM && memory_was_short(at) && way->by == NULL) &&
               !(attach_error != 0 && code == attach_error) &&
               !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "watching a socket returned %d", code);
    }
}

static void leave_socket(world *at)
{
    foreign *of = pick_foreign(at);
    unsigned which = pick(at, 2);
    hearing *way = &of->ways[which];
    say(at, "do not watch %s any more", which == READING ? "reading" : "writing");
    if (call_remove(at, of, which) != is_heard(at, way)) {
        broken(at, "who removes is not told whether there was one");
    }
    way->by = NULL;
}

/* What there was is gone, or something comes. */
static void change_socket(world *at)
{
    foreign *of = pick_foreign(at);
    unsigned which = pick(at, 2);
    bool so = !is_so(of, which);
    say(at, "socket %ld can%s be %s", (long)of->socket->number, so ? "" : "not",
        which == READING ? "read" : "written");
    if (which == WRITING) {
        of->socket->room = so ? 1 : 0;
        fake_tell(at->loop);
    } else if (so) {
        fake_feed(of->socket, "x", 1);
    } else {
        of->socket->input_length = 0;
    }
    if (so) {
        of->ways[which].since = turn_of(at);
    } else {
        of->ways[which].until = turn_of(at);
    }
}

void check_readers(world *at)
{
    const fake_backend *fake = fake_of(at->loop);
    for (unsigned i = 0; i < FOREIGNS; i++) {
        foreign *of = &at->foreigns[i];
        for (unsigned which = 0; which < 2 && of->socket != NULL; which++) {
            hearing *way = &of->ways[which];
            if (!is_heard(at, way) || !is_so(of, which) || fake->manual || fake->hold_cancels) {
                way->since = fake->turns;
            } else if (fake->turns > way->since + TURNS_ENOUGH &&
                       fake->turns > at->mood_since + TURNS_ENOUGH) {
                broken(at, "what can be done with a socket was not told");
            }
        }
    }
}

const verb verbs_readers[] = {
    {"watch socket", 4, ANYWHERE, NULL, watch_socket},
    {"leave socket", 3, ANYWHERE, NULL, leave_socket},
    {"change socket", 5, ANYWHERE, NULL, change_socket},
    {.name = NULL},
};
