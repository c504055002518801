# SPDX-License-Identifier: MIT
#
# What mingw-x86_64.cmake and mingw-i686.cmake, the toolchain files for Windows programs made on
# Linux, have in common. The first sets `machine`.
#
# OpenSSL and cmocka are looked for in PORTICO_WINDOWS_DEPS, where ci/windows-deps puts them, or
# wherever CMAKE_PREFIX_PATH says.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR ${machine})
set(CMAKE_C_COMPILER ${machine}-w64-mingw32-gcc)
set(CMAKE_RC_COMPILER ${machine}-w64-mingw32-windres)

if(NOT DEFINED PORTICO_WINDOWS_DEPS)
    if(DEFINED ENV{XDG_CACHE_HOME})
        set(PORTICO_WINDOWS_DEPS "$ENV{XDG_CACHE_HOME}/portico/windows")
    else()
        set(PORTICO_WINDOWS_DEPS "$ENV{HOME}/.cache/portico/windows")
    endif()
endif()
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PORTICO_WINDOWS_DEPS)

list(APPEND CMAKE_PREFIX_PATH
    "${PORTICO_WINDOWS_DEPS}/openssl-${machine}"
    "${PORTICO_WINDOWS_DEPS}/cmocka-${machine}")
set(CMAKE_FIND_ROOT_PATH /usr/${machine}-w64-mingw32 ${CMAKE_PREFIX_PATH})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(OPENSSL_USE_STATIC_LIBS ON)

# An .exe that needs no DLL of the compiler's.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -static-libgcc)

set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/../ci/windows-run")
