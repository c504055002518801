/* SPDX-License-Identifier: MIT */
/* verbs_trouble.c: memory that is short, operations that fail, and the backend's moods. */
#include "swarm.h"

/* ---- Memory ---- */

static void memory_short(world *at)
{
    size_t nth = 1 + pick(at, 12);
    bool forever = pick_rarely(at, 4);
    say(at, "allocation %zu from now fails%s", nth, forever ? ", and all that follow" : "");
    at->was_short = memory_was_short(at);
    memory_fail(nth, forever);
}

static void memory_enough(world *at)
{
    say(at, "there is memory again");
    memory_recover(at);
}

/* ---- Accepting and attaching ---- */

static void attach_fails(world *at)
{
    say(at, "the next attach fails");
    fake_of(at->loop)->attach_error = PCO_EMFILE;
    at->attach_failed = true;
}

static void wish_fails(world *at)
{
    say(at, "the next wish for a socket fails");
    fake_of(at->loop)->option_error = PCO_ENOBUFS;
    at->wish_failed = true;
}

static fake_socket *pick_listener(world *at)
{
    served *of = pick_server(at);
    if (at->freeing || !of->serving || of->closed) {
        return NULL;
    }
    size_t which = pick(at, (uint32_t)of->sockets);
    of->listeners[which] = fake_socket_of(at->loop, pco_server_get_socket(of->server, which));
    return of->listeners[which];
}

static void accept_fails(world *at)
{
    static const int errors[] = {PCO_EMFILE, PCO_ENOBUFS, PCO_ENOMEM};
    fake_socket *listener = pick_listener(at);
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    if (listener != NULL) {
        say(at, "an accept fails with %s", pco_error_name(error));
        fake_accept_error(at->loop, listener->number, error, 24, pick(at, 2));
    }
}

/* ---- Moods ---- */

static bool has_moods(const world *at)
{
    return !at->freeing;
}

static void change_mood(world *at)
{
    fake_backend *fake = fake_of(at->loop);
    bool *const moods[] = {&fake->eager,
                           &fake->cancels_first,
                           &fake->receive_on_cancel,
                           &fake->sends_what_came_later,
                           &fake->hold_cancels,
                           &fake->manual};
    unsigned which = pick(at, sizeof moods / sizeof moods[0]);
    *moods[which] = !*moods[which];
    at->mood_since = fake->turns;
    fake_tell(at->loop);
    say(at, "mood %u is %s", which, *moods[which] ? "on" : "off");
}

static void be_plain(world *at)
{
    fake_backend *fake = fake_of(at->loop);
    say(at, "the backend is itself again");
    at->mood_since = fake->turns;
    fake->manual = false;
    fake->hold_cancels = false;
    fake_tell(at->loop);
}

/* ---- Decisions: which operation ends next, and how ---- */

static bool has_conns(const world *at)
{
    return at->conns_count != 0;
}

static void decide(world *at)
{
    static const pco__op_kind kinds[] = {PCO__OP_RECV, PCO__OP_SEND, PCO__OP_WATCH};
    static const int errors[] = {0, 0, 0, PCO_ECANCELED, PCO_ECONNRESET};
    conn *of = at->conns[pick(at, at->conns_count)];
    pco__op_kind kind = kinds[pick(at, sizeof kinds / sizeof kinds[0])];
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    size_t limit = pick_length(at);
    if (of->socket == NULL || !fake_decide(of->socket, kind, error, limit)) {
        return;
    }
    say(at, "operation %d of %u is to end with %d", (int)kind, of->id, error);
    if (error != 0 && error != PCO_ECANCELED) {
        cause(of, error);
    }
}

static void decide_accept(world *at)
{
    static const int errors[] = {0, 0, PCO_ECANCELED, PCO_EMFILE};
    fake_socket *listener = pick_listener(at);
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    if (listener != NULL && fake_decide(listener, PCO__OP_ACCEPT, error, 1)) {
        say(at, "an accept is to end with %d", error);
    }
}

const verb verbs_trouble[] = {
    {"memory is short", 4, ANYWHERE, NULL, memory_short},
    {"memory is enough", 4, ANYWHERE, NULL, memory_enough},
    {"attach fails", 1, ANYWHERE, NULL, attach_fails},
    {"wish fails", 1, ANYWHERE, NULL, wish_fails},
    {"accept fails", 2, ANYWHERE, has_server, accept_fails},
    {"mood", 6, ANYWHERE, has_moods, change_mood},
    {"no mood", 6, ANYWHERE, NULL, be_plain},
    {"decide", 16, ANYWHERE, has_conns, decide},
    {"decide accept", 4, ANYWHERE, has_server, decide_accept},
    {.name = NULL},
};
