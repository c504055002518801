# SPDX-License-Identifier: MIT
# Configures, builds and runs project/ against the staged tree, with BUILD_SHARED_LIBS as told.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

file(REMOVE_RECURSE "${BUILD}")
run("${CMAKE_COMMAND}" -S "${PROJECT}" -B "${BUILD}" -G "${GENERATOR}"
    -D "CMAKE_C_COMPILER=${CC}"
    -D "CMAKE_BUILD_TYPE=Release"
    -D "CMAKE_PREFIX_PATH=${STAGE}"
    -D "BUILD_SHARED_LIBS=${SHARED}")
run("${CMAKE_COMMAND}" --build "${BUILD}" --config Release)

find_program(consumer consumer
    PATHS "${BUILD}" "${BUILD}/Release" REQUIRED NO_DEFAULT_PATH)
run_and_expect_version("${consumer}")
