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

# Runs a consumer, which prints the version of the library that it met.
function(run_and_expect_version program)
    run("${program}")
    if(NOT output STREQUAL VERSION)
        message(FATAL_ERROR "the library says version ${output}, the build ${VERSION}")
    endif()
endfunction()
