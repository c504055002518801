/* SPDX-License-Identifier: MIT */
/* child.c (POSIX): see child.h. */
#include "child.h"

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
