/* SPDX-License-Identifier: MIT */
/* child.c (POSIX): see child.h and forked.h. */
#include "child.h"

#include "forked.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

void child_ends_without_a_word(void)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
}

long long process_of_this_test(void)
{
    return getpid();
}

void end_forked(int status)
{
    char command[32];

    snprintf(command, sizeof command, "exit %d", status);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(status);
}
