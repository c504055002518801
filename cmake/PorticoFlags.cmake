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

# What Microsoft's compiler says at /W4 of C11 as it should be, and is not asked to say.
set(portico_msvc_silent
    /wd4200 # an array without a size ends a struct (C99)
    /wd4201 # a struct or union without a name inside another (C11)
    /wd4204 # a struct is initialized with what is not constant (C99)
    /wd4214 # a bit-field of another type than int (C99's bool)
    /wd4221 # a struct is initialized with the address of a local variable (C99)
    /wd4232 # malloc's address in a constant: it is that of the import, which nobody compares
    /wd4310 # a cast cuts a constant off: (char)0xFF
    /wd4459 # a local variable is called as a function elsewhere is: accept, connect
    /wd4611) # setjmp, which is harmful to destructors of C++ only

# With C11, headers of older SDKs do not compile without warnings.
if(MSVC AND CMAKE_VS_WINDOWS_TARGET_PLATFORM_VERSION AND
        CMAKE_VS_WINDOWS_TARGET_PLATFORM_VERSION VERSION_LESS 10.0.22000)
    message(FATAL_ERROR "The Windows SDK is ${CMAKE_VS_WINDOWS_TARGET_PLATFORM_VERSION}, and "
        "10.0.22000 is the least (-D CMAKE_SYSTEM_VERSION=10.0.22000.0 or newer)")
endif()

function(portico_warnings target)
    if(MSVC)
        target_compile_options(${target} PRIVATE
            /W4 /utf-8 ${portico_msvc_silent} $<$<BOOL:${PORTICO_WERROR}>:/WX>)
        # C4996: standard functions that Microsoft has its own for, such as fopen, getenv, gmtime.
        target_compile_definitions(${target} PRIVATE _CRT_SECURE_NO_WARNINGS)
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
