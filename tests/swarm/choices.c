/* SPDX-License-Identifier: MIT */
/* choices.c: what servers and clients may wish of the sockets of their connections. */
#include "swarm.h"

static double choose_time(world *at)
{
    static const double times[] = {0, 0, 0.5, 61, 32767};
    return times[pick(at, sizeof times / sizeof times[0])];
}

static int refusal_of(const pco__socket_options *of)
{
    bool is_senseless =
        of->keep_alive != PCO_ON &&
        (of->keep_alive_idle > 0 || of->keep_alive_interval > 0 || of->keep_alive_count > 0);
    return is_senseless ? PCO_EINVAL : fake_misses(of) ? PCO_ENOTSUP : 0;
}

/* Now and then the times without what they are for. */
wish choose_wish(world *at)
{
    static const int switches[] = {PCO_DEFAULT, PCO_ON, PCO_ON, PCO_OFF};
    static const double limits[] = {0, 0, 0.25, 100};
    wish made = {.refusal = 0};
    pco__socket_options *options = &made.options;
    if (pick(at, 3) != 1) {
        return made;
    }
    options->keep_alive = switches[pick(at, sizeof switches / sizeof switches[0])];
    if (options->keep_alive == PCO_ON || pick_rarely(at, 20)) {
        options->keep_alive_idle = choose_time(at);
        options->keep_alive_interval = choose_time(at);
        options->keep_alive_count = (int)pick(at, 3) * 63;
    }
    options->user_timeout = limits[pick(at, sizeof limits / sizeof limits[0])];
    made.refusal = refusal_of(options);
    return made;
}

bool is_granted(const pco__socket_options *wanted, const pco__socket_options *has)
{
    return wanted->keep_alive == has->keep_alive &&
           wanted->keep_alive_idle == has->keep_alive_idle &&
           wanted->keep_alive_interval == has->keep_alive_interval &&
           wanted->keep_alive_count == has->keep_alive_count &&
           wanted->user_timeout == has->user_timeout;
}
