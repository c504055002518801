/* SPDX-License-Identifier: MIT */
/* network_namespace.c: see network_namespace.h. */
#define _GNU_SOURCE 1

#include "network_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bool run(const char *arguments)
{
    char command[256];

    snprintf(command, sizeof command, "ip %s", arguments);
    return system(command) == 0;
}

static bool write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool done = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    close(file);
    return done;
}

/* Who may not make one may as the root of a namespace of users, which ip has to be as well. */
static bool become_root(void)
{
    char users[32];
    char groups[32];

    snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
           write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", users) &&
           write_file("/proc/self/gid_map", groups);
}

bool namespace_enter(void)
{
    if (unshare(CLONE_NEWNET) != 0 && !become_root()) {
        printf("skipped: no network namespace: %s\n", strerror(errno));
        return false;
    }
    if (!run("link set lo up")) {
        printf("skipped: ip does not run\n");
        return false;
    }
    return true;
}

void namespace_clear(void)
{
    ip("addr flush dev lo");
    ip("link set lo down");
    ip("link set lo up");
}

bool namespace_has_inet6(void)
{
    return access("/proc/net/if_inet6", F_OK) == 0;
}

void ip(const char *arguments)
{
    if (!run(arguments)) {
        fail_msg("ip %s has failed", arguments);
    }
}

void ip_many(const char *format, unsigned count)
{
    FILE *batch = popen("ip -batch -", "w");

    assert_non_null(batch);
    for (unsigned i = 0; i < count; i++) {
        fprintf(batch, format, i / 256 % 256, i % 256);
        fputc('\n', batch);
    }
    assert_int_equal(pclose(batch), 0);
}
