# SPDX-License-Identifier: MIT
#
# windows.sh: the configurations of ci/test that are about Windows. Sourced by it.
#
#   windows        64 bits, with TLS: built by mingw-w64, every test run under Wine
#   windows_32     32 bits, without TLS, the examples over the DLL: built and linked only, for want
#                  of a 32-bit Wine, and its exports compared
#   msvc_dialect   every file in the dialect of Microsoft's compiler

# prepare_windows: what all of them need. A failure is a failed test.
prepare_windows() {
    "$root/ci/windows-deps" && return
    echo 'failed windows-deps' >>"$results/windows-deps.checks"
    return 1
}

# build_windows FOLDER MACHINE [cmake arguments]
build_windows() {
    local folder=$1 machine=$2
    shift 2
    build_strictly "$folder" default -D PORTICO_WINDOWS_DEPS="$cache/windows" \
        -D CMAKE_TOOLCHAIN_FILE="$root/cmake/mingw-$machine.cmake" "$@"
}

# With assertions: they watch the rules of the seam.
test_windows() {
    prepare_windows &&
        build_windows windows x86_64 -D CMAKE_C_FLAGS_RELWITHDEBINFO='-O2 -g' &&
        "$root/ci/windows-run" && run_ctest windows windows
}

test_windows_32() {
    prepare_windows && run_check windows_32 \
        build_windows windows_32 i686 -D PORTICO_TLS=OFF -D BUILD_SHARED_LIBS=ON \
        -D PORTICO_BOTH=OFF && run_ctest windows_32 windows_32 --tests-regex '^exports$'
}

test_msvc_dialect() {
    prepare_windows && run_check msvc_dialect "$root/ci/msvc-dialect"
}
