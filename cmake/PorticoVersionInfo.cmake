# SPDX-License-Identifier: MIT
#
# What the Properties of the DLL show in the Explorer, and installers compare.

enable_language(RC)
configure_file(src/win32/portico.rc.in "${PROJECT_BINARY_DIR}/portico.rc" @ONLY)
target_sources(portico_shared PRIVATE "${PROJECT_BINARY_DIR}/portico.rc")
