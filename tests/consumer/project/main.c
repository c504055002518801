/* SPDX-License-Identifier: MIT */
/*
 * main.c: a user's program. It makes a loop, so that the installed library is really linked and
 * runs, and prints the version for the test to compare.
 */
#include <portico.h>

#include <stdio.h>

int main(void)
{
    pco_loop *loop = NULL;
    pco_error error;
    if (pco_loop_new(NULL, &loop, &error) != 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    pco_loop_free(loop);
    printf("%s\n", pco_version());
    return 0;
}
