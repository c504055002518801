# SPDX-License-Identifier: MIT
# The toolchain for 32-bit Windows: cmake -D CMAKE_TOOLCHAIN_FILE=cmake/mingw-i686.cmake
set(machine i686)
include("${CMAKE_CURRENT_LIST_DIR}/mingw.cmake")
