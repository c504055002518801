# SPDX-License-Identifier: MIT
#
# How everything here is compiled: portico_flags(target) makes it C11 without extensions, with the
# house's warnings, hidden symbols, and the sanitizers or the coverage that were asked for. It sets
# nothing globally, so that a project which contains Portico keeps its own flags.

set(portico_is_gnu_like OFF)
if(CMAKE_C_COMPILER_ID MATCHES "GNU|Clang" AND NOT MSVC)
    set(portico_is_gnu_like ON)
endif()

if((PORTICO_SANITIZE OR PORTICO_COVERAGE) AND NOT portico_is_gnu_like)
    message(FATAL_ERROR "PORTICO_SANITIZE and PORTICO_COVERAGE need gcc or clang")
endif()

function(portico_warnings target)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4 /utf-8 $<$<BOOL:${PORTICO_WERROR}>:/WX>)
    elseif(portico_is_gnu_like)
        target_compile_options(${target} PRIVATE
            -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wconversion
            $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
            # isnan and isinf of mingw-w64 are macros that convert what they never use.
            $<$<BOOL:${MINGW}>:-Wno-float-conversion>
            $<$<BOOL:${PORTICO_WERROR}>:-Werror>)
    endif()
endfunction()

function(portico_flags target)
    portico_warnings(${target})
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11
        C_STANDARD_REQUIRED ON
        C_EXTENSIONS OFF
        C_VISIBILITY_PRESET hidden)

    if(PORTICO_SANITIZE)
        set(sanitize -fsanitize=${PORTICO_SANITIZE})
        target_compile_options(${target} PRIVATE
            ${sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer)
        target_link_options(${target} PRIVATE ${sanitize})
    endif()

    # Without NDEBUG, each assert would count as a branch that no test may take.
    if(PORTICO_COVERAGE)
        # Several threads count, in several processes at once.
        target_compile_options(${target} PRIVATE --coverage -fprofile-update=atomic -O0)
        target_compile_definitions(${target} PRIVATE NDEBUG)
        target_link_options(${target} PRIVATE --coverage)
    endif()
endfunction()
