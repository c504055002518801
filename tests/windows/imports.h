/* SPDX-License-Identifier: MIT */
/*
 * imports.h: puts a test's own function in the place of one of the system's. A module calls those
 * of other modules through a table of addresses, its imports, and that can be written to.
 */
#ifndef IMPORTS_H
#define IMPORTS_H

#include "win32/win32.h"

/* Any function; it is called as what it is only. */
typedef void (*any_function)(void);

/*
 * From now on `module` (NULL: the program) calls `function` where it means `name`. Returns what it
 * called before, NULL if it imports no such function.
 */
any_function replace_import(HMODULE module, const char *name, any_function function);

#endif
