# SPDX-License-Identifier: MIT
# What the consumer tests share.

# Runs a command; its standard output goes to `output`. Fails if the command does.
macro(run)
    execute_process(COMMAND ${ARGN}
        OUTPUT_VARIABLE output
        OUTPUT_STRIP_TRAILING_WHITESPACE
        ECHO_OUTPUT_VARIABLE
        COMMAND_ECHO STDOUT
        COMMAND_ERROR_IS_FATAL ANY)
endmacro()

# Configures PROJECT anew, as a build like this one, with BUILD_SHARED_LIBS as told and these
# settings; what CMake says goes to `output`.
macro(configure_consumer)
    set(options -D "CMAKE_BUILD_TYPE=${CONFIG}" -D "BUILD_SHARED_LIBS=${SHARED}" ${ARGN})
    string(REPLACE "|" ";" AS_THIS_ONE "${AS_THIS_ONE}")
    foreach(setting IN LISTS AS_THIS_ONE)
        if(setting MATCHES "^CMAKE_GENERATOR_PLATFORM=(.*)$")
            list(APPEND options -A "${CMAKE_MATCH_1}")
        elseif(setting MATCHES "^CMAKE_GENERATOR_TOOLSET=(.*)$")
            list(APPEND options -T "${CMAKE_MATCH_1}")
        else()
            list(APPEND options -D "${setting}")
        endif()
    endforeach()
    file(REMOVE_RECURSE "${BUILD}")
    run("${CMAKE_COMMAND}" -S "${PROJECT}" -B "${BUILD}" -G "${GENERATOR}" ${options})
endmacro()

# Lets programs find the DLLs in these folders, on Windows and under Wine.
function(use_dlls folders)
    string(REPLACE "|" ";" folders "${folders}")
    if(CMAKE_HOST_WIN32)
        set(ENV{PATH} "${folders};$ENV{PATH}")
    elseif(EMULATOR)
        list(TRANSFORM folders PREPEND "Z:")
        set(ENV{WINEPATH} "${folders}")
    endif()
endfunction()

# Runs a consumer, which prints the version of the library that it met.
function(run_and_expect_version program)
    string(REPLACE "|" ";" emulator "${EMULATOR}")
    run(${emulator} "${program}")
    if(NOT output STREQUAL VERSION)
        message(FATAL_ERROR "the library says version ${output}, the build ${VERSION}")
    endif()
endfunction()

# Runs what CMake has built in BUILD.
function(run_consumer)
    find_program(consumer NAMES consumer consumer.exe
        PATHS "${BUILD}" "${BUILD}/${CONFIG}" REQUIRED NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    use_dlls("${STAGE}/bin|${DLL_FOLDERS}")
    run_and_expect_version("${consumer}")
endfunction()
