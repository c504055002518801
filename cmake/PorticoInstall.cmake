# SPDX-License-Identifier: MIT
#
# What `cmake --install` lays down: both libraries, the headers, the package for
# find_package(portico), and portico.pc. Nothing in it names the prefix, so the installed tree may
# be moved.

include(CMakePackageConfigHelpers)

set(portico_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/portico")

install(TARGETS portico_static portico_shared EXPORT portico-targets
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES include/portico.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY include/portico DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.h")

# ---- find_package(portico) ----

install(EXPORT portico-targets NAMESPACE portico:: DESTINATION "${portico_package_dir}")
configure_package_config_file(
    cmake/portico-config.cmake.in "${PROJECT_BINARY_DIR}/portico-config.cmake"
    INSTALL_DESTINATION "${portico_package_dir}"
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
    "${PROJECT_BINARY_DIR}/portico-config-version.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${PROJECT_BINARY_DIR}/portico-config.cmake"
    "${PROJECT_BINARY_DIR}/portico-config-version.cmake"
    DESTINATION "${portico_package_dir}")

# ---- pkg-config ----

# Relative to where portico.pc lies, unless the folders were given as absolute paths.
set(pc_prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
    set(pc_prefix "\${pcfiledir}/${pc_to_prefix}")
endif()
set(pc_libdir "\${prefix}")
cmake_path(APPEND pc_libdir "${CMAKE_INSTALL_LIBDIR}")
set(pc_includedir "\${prefix}")
cmake_path(APPEND pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")

set(pc_requires_private "")
if(PORTICO_TLS)
    set(pc_requires_private "libssl >= 3.0, libcrypto >= 3.0")
endif()

list(JOIN portico_kqueue_flags " " pc_libs_private)
string(STRIP "-pthread -lm ${pc_libs_private}" pc_libs_private)
if(WIN32)
    set(pc_libs_private "-lws2_32 -lmswsock")
endif()

configure_file(cmake/portico.pc.in "${PROJECT_BINARY_DIR}/portico.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/portico.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
