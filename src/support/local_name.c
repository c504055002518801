/* SPDX-License-Identifier: MIT */
/* local_name.c: the names by which programs find each other. */
#include "support/local_name.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "support/error.h"

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define HASH_DIGITS 16

int pco__local_name_check(const char *name, pco_error *error)
{
    if (name == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "name is NULL");
    }
    size_t good = strspn(name, LETTERS_AND_DIGITS ".-_");
    if (name[0] == '\0' || name[good] != '\0' || strspn(name, LETTERS_AND_DIGITS) == 0) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "the name \"%.60s\" is not made of letters, digits, '.', '-' and '_' "
                              "with a letter or a digit first",
                              name);
    }
    if (good > PCO__LOCAL_NAME_MOST) {
        return pco__error_set(error, PCO_EINVAL, 0, "the name \"%.60s...\" has %zu bytes, over %d",
                              name, good, PCO__LOCAL_NAME_MOST);
    }
    return 0;
}

/* FNV-1a: names are not chosen to harm each other, since both would be the same user's. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    }
    return hash;
}

void pco__local_name_fit(const char *name, size_t room, char *text)
{
    size_t length = strlen(name);
    assert(room >= PCO__LOCAL_NAME_LEAST_ROOM);
    if (length <= room && name[length - 1] != '.') { /* which Windows leaves off */
        memcpy(text, name, length + 1);
        return;
    }
    snprintf(text, room + 1, "%.*s-%0*" PRIx64, (int)(room - HASH_DIGITS - 1), name, HASH_DIGITS,
             hash_of(name));
}
