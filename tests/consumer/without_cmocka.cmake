# SPDX-License-Identifier: MIT
# Configures Portico itself on a machine that has no cmocka: without the tests, which one sentence
# says, unless they were asked for, which is an error.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(hidden -D CMAKE_DISABLE_FIND_PACKAGE_cmocka=ON -D "PORTICO_TLS=${TLS}")
configure_consumer(${hidden})
if(NOT output MATCHES "The tests are left out: they need cmocka")
    message(FATAL_ERROR "nothing was said of the tests that are left out")
endif()
if(EXISTS "${BUILD}/tests" OR EXISTS "${BUILD}/CTestTestfile.cmake")
    message(FATAL_ERROR "the tests were configured all the same")
endif()
if(NOT EXISTS "${BUILD}/examples")
    message(FATAL_ERROR "the examples are missing")
endif()

execute_process(COMMAND "${CMAKE_COMMAND}" -S "${PROJECT}" -B "${BUILD}" ${hidden}
        -D PORTICO_TESTS=ON
    RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE why)
if(status EQUAL 0 OR NOT why MATCHES "cmocka")
    message(FATAL_ERROR "PORTICO_TESTS=ON was passed over: ${why}")
endif()
