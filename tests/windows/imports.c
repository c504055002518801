/* SPDX-License-Identifier: MIT */
/* imports.c: see imports.h. The tables are those of the format of Windows's programs, PE. */
#include "imports.h"

#include <string.h>

static const void *at_offset(HMODULE module, DWORD offset)
{
    return (const unsigned char *)(void *)module + offset;
}

static const IMAGE_IMPORT_DESCRIPTOR *first_descriptor(HMODULE module)
{
    const IMAGE_DOS_HEADER *dos = at_offset(module, 0);
    const IMAGE_NT_HEADERS *headers = at_offset(module, (DWORD)dos->e_lfanew);
    return at_offset(
        module, headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);
}

/* Where the module keeps the address of the function; NULL: nowhere. */
static IMAGE_THUNK_DATA *find(HMODULE module, const char *name)
{
    const IMAGE_IMPORT_DESCRIPTOR *one = first_descriptor(module);
    for (; one->FirstThunk != 0; ++one) {
        const IMAGE_THUNK_DATA *names = at_offset(module, one->OriginalFirstThunk);
        for (size_t i = 0; names[i].u1.AddressOfData != 0; ++i) {
            if (IMAGE_SNAP_BY_ORDINAL(names[i].u1.Ordinal)) {
                continue;
            }
            const IMAGE_IMPORT_BY_NAME *its = at_offset(module, (DWORD)names[i].u1.AddressOfData);
            if (strcmp((const char *)its->Name, name) == 0) {
                return (IMAGE_THUNK_DATA *)(uintptr_t)at_offset(module, one->FirstThunk) + i;
            }
        }
    }
    return NULL;
}

any_function replace_import(HMODULE module, const char *name, any_function function)
{
    IMAGE_THUNK_DATA *place = find(module != NULL ? module : GetModuleHandleW(NULL), name);
    DWORD protection = 0;
    if (place == NULL || !VirtualProtect(place, sizeof *place, PAGE_READWRITE, &protection)) {
        return NULL;
    }
    any_function before = (any_function)(uintptr_t)place->u1.Function;
    place->u1.Function = (uintptr_t)function;
    VirtualProtect(place, sizeof *place, protection, &protection);
    return before;
}
