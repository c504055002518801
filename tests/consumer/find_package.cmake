# SPDX-License-Identifier: MIT
# Configures, builds and runs project/ against the staged tree, with BUILD_SHARED_LIBS as told.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

set(options -D "CMAKE_BUILD_TYPE=${CONFIG}" -D "CMAKE_PREFIX_PATH=${STAGE}"
    -D "BUILD_SHARED_LIBS=${SHARED}")
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
run("${CMAKE_COMMAND}" --build "${BUILD}" --config "${CONFIG}")

find_program(consumer NAMES consumer consumer.exe
    PATHS "${BUILD}" "${BUILD}/${CONFIG}" REQUIRED NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
use_dlls("${STAGE}/bin|${DLL_FOLDERS}")
run_and_expect_version("${consumer}")
