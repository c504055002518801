# SPDX-License-Identifier: MIT
# Compiles and runs main.c with what portico.pc says, and nothing but the compiler: a program over
# the shared library, a wholly static one, or, with ARCHIVE, one that has of Portico's the static
# library, though both are installed, and of the others' the shared ones.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(separator ":")
if(CMAKE_HOST_WIN32)
    set(separator ";")
endif()
set(ENV{PKG_CONFIG_PATH} "${STAGE}/${LIBDIR}/pkgconfig${separator}$ENV{PKG_CONFIG_PATH}")
file(REMOVE_RECURSE "${BUILD}")
file(MAKE_DIRECTORY "${BUILD}")

# With no TLS there is nothing that could be missing.
if(NOT SHARED AND NOT ARCHIVE AND TLS)
    execute_process(COMMAND "${PKG_CONFIG}" --static --libs libssl libcrypto
        RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE why OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT status EQUAL 0)
        string(REGEX REPLACE "\n.*$" "" why "${why}")
        message("skipped: OpenSSL's own .pc asks for more than there is: ${why}")
        return()
    endif()
endif()

# As the README says it. Nothing tells this program where the shared library would be.
if(ARCHIVE)
    run("${PKG_CONFIG}" --cflags portico)
    set(link "${output}")
    run("${PKG_CONFIG}" --variable=libdir portico)
    string(APPEND link " ${output}/libportico${POSTFIX}.a")
    if(TLS)
        run("${PKG_CONFIG}" --libs libssl libcrypto)
        string(APPEND link " ${output}")
    endif()
    set(output "${link} -pthread -lm")
    set(link "")
# Static: the whole program, which shows that portico.pc names all that the archive needs. The
# linker's warning, that looking up names still uses shared libraries, is glibc's.
elseif(SHARED)
    run("${PKG_CONFIG}" --cflags --libs portico)
    set(link "-Wl,-rpath,${STAGE}/${LIBDIR}")
else()
    run("${PKG_CONFIG}" --static --cflags --libs portico)
    set(link -static)
endif()
separate_arguments(flags UNIX_COMMAND "${output}")

run("${CC}" "${PROJECT}/main.c" -o "${BUILD}/consumer" ${link} ${flags})
use_dlls("${STAGE}/bin|${DLL_FOLDERS}")
run_and_expect_version("${BUILD}/consumer")
