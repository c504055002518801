/* SPDX-License-Identifier: MIT */
/*
 * child.c (Windows): see child.h. Without this abort() opens a window where the C library is one
 * for debugging, and reports to Microsoft where it is not.
 */
#include "win32/win32.h"

#include <crtdbg.h>
#include <stdlib.h>

#include "child.h"

void child_ends_without_a_word(void)
{
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
#ifdef _MSC_VER /* msvcrt, which mingw-w64 may link, has it in some versions only */
    _set_abort_behavior(0, _WRITE_ABORT_MSG | _CALL_REPORTFAULT);
#endif
    static const int kinds[] = {_CRT_WARN, _CRT_ERROR, _CRT_ASSERT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        _CrtSetReportMode(kinds[i], _CRTDBG_MODE_FILE);
        _CrtSetReportFile(kinds[i], _CRTDBG_FILE_STDERR);
    }
}

long long process_of_this_test(void)
{
    return GetCurrentProcessId();
}
