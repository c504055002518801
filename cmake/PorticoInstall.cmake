# SPDX-License-Identifier: MIT
#
# What `cmake --install` lays down: the libraries that were asked for, the headers, the package for
# find_package(portico), portico.pc, the licence and the documentation. Nothing in it names the
# prefix, so the installed tree may be moved.

include(CMakePackageConfigHelpers)

set(portico_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/portico")

install(TARGETS ${portico_libraries} EXPORT portico-targets
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}"
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES include/portico.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY include/portico DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.h")

install(FILES LICENSE README.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY docs DESTINATION "${CMAKE_INSTALL_DOCDIR}" FILES_MATCHING PATTERN "*.md")
install(DIRECTORY examples DESTINATION "${CMAKE_INSTALL_DOCDIR}" FILES_MATCHING
    PATTERN "*.c" PATTERN "*.h" PATTERN "*.cpp" PATTERN "*.m")

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

set(pc_requires "")
if(PORTICO_TLS)
    set(pc_requires "libssl >= 3.0, libcrypto >= 3.0")
endif()

list(JOIN portico_kqueue_flags " " pc_libs)
string(STRIP "-pthread -lm ${pc_libs}" pc_libs)
if(WIN32)
    set(pc_libs "-lws2_32 -lmswsock -liphlpapi -ladvapi32")
    if(PORTICO_TLS)
        string(APPEND pc_libs " -lcrypt32")
    endif()
elseif(APPLE AND PORTICO_TLS)
    string(APPEND pc_libs " -framework Security -framework CoreFoundation")
endif()

# What a shared library needs is private to it: who links it need not name that. What a static one
# needs is the user's to link.
if(TARGET portico_shared)
    set(pc_library portico_shared)
    set(pc_requires "Requires.private: ${pc_requires}")
    set(pc_libs "\nLibs.private: ${pc_libs}")
else()
    set(pc_library portico_static)
    set(pc_requires "Requires: ${pc_requires}")
    set(pc_libs " ${pc_libs}")
endif()
set(pc_define "")
if(WIN32 AND TARGET portico_shared AND NOT PORTICO_BOTH)
    set(pc_define " -DPCO_SHARED")
endif()

# The library's name differs between Debug and Release where CMAKE_DEBUG_POSTFIX says so.
set(pc_name "$<TARGET_LINKER_FILE_BASE_NAME:${pc_library}>")
configure_file(cmake/portico.pc.in "${PROJECT_BINARY_DIR}/portico.pc.in" @ONLY)
file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/$<CONFIG>/portico.pc"
    INPUT "${PROJECT_BINARY_DIR}/portico.pc.in")
install(FILES "${PROJECT_BINARY_DIR}/$<CONFIG>/portico.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
