/* SPDX-License-Identifier: MIT */
/* version.c: which library this is, for programs that meet it at run time. */
#include <portico/base.h>

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *pco_version(void)
{
    return TEXT(PCO_VERSION_MAJOR) "." TEXT(PCO_VERSION_MINOR) "." TEXT(PCO_VERSION_PATCH);
}
