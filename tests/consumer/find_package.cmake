# SPDX-License-Identifier: MIT
# Configures, builds and runs project/ against the staged tree, with BUILD_SHARED_LIBS as told.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

configure_consumer(-D "CMAKE_PREFIX_PATH=${STAGE}")
run("${CMAKE_COMMAND}" --build "${BUILD}" --config "${CONFIG}")
run_consumer()
