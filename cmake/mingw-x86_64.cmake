# SPDX-License-Identifier: MIT
# The toolchain for 64-bit Windows: cmake -D CMAKE_TOOLCHAIN_FILE=cmake/mingw-x86_64.cmake
set(machine x86_64)
include("${CMAKE_CURRENT_LIST_DIR}/mingw.cmake")
