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
