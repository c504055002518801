# SPDX-License-Identifier: MIT
# Builds and runs subdirectory/, which contains the sources. Portico then makes the one library that
# BUILD_SHARED_LIBS asks for, no tests, no examples, and nothing to install.

include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")

# It has the backends that this system has by default.
unset(ENV{PORTICO_BACKEND})

set(library portico_static)
if(SHARED)
    set(library portico_shared)
endif()

configure_consumer(-D "PORTICO=${SOURCE}" -D "FETCH=${SHARED}" -D "PORTICO_TLS=${TLS}")
if(NOT "${output}\n" MATCHES "Portico makes: ${library} *\n")
    message(FATAL_ERROR "Portico should make ${library} and nothing else")
endif()
run("${CMAKE_COMMAND}" --build "${BUILD}" --config "${CONFIG}")
run_consumer()

run("${CMAKE_COMMAND}" --install "${BUILD}" --config "${CONFIG}" --prefix "${BUILD}/installed")
if(EXISTS "${BUILD}/installed")
    message(FATAL_ERROR "Portico installs what nobody has asked for")
endif()
