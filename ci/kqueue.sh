# SPDX-License-Identifier: MIT
#
# kqueue.sh: the configurations of ci/test that are about macOS and the BSDs. Sourced by it. (That
# the stand-in does what kqueue(2) says is a test of every build: tests/kqueue.)
#
#   kqueue           the whole suite on src/posix/kqueue.c over the stand-in, which behaves as the
#                    system's own kqueue does, with sanitizers
#   kqueue_library   the same over what has the weaknesses of libkqueue, and built as its users
#                    build: with nothing given but where the header and the library are
#   macos            compiled and linked for macOS on two processors

# install_kqueue FOLDER [compiler arguments]: the stand-in, laid down as a library is installed.
install_kqueue() {
    local folder=$1 source=$root/tests/kqueue
    mkdir -p "$folder/include/sys" "$folder/lib"
    cp "$source/include/sys/event.h" "$folder/include/sys/"
    gcc -std=c11 -O1 -g -shared -fPIC -pthread -Wall -Wextra -Wpedantic -Wconversion -Werror \
        -I "$source/include" "${@:2}" "$source"/standin*.c -o "$folder/lib/libkqueue.so"
}

# build_with_kqueue NAME PRESET COMPILER-FLAGS [cmake arguments]: with NAME-installed.
build_with_kqueue() {
    local name=$1 preset=$2 flags=$3 at
    shift 3
    at=$builds/$name-installed
    build_strictly "$name" "$preset" -D PORTICO_KQUEUE=ON \
        -D CMAKE_C_FLAGS="-I$at/include $flags" \
        -D CMAKE_EXE_LINKER_FLAGS="-L$at/lib -lkqueue -Wl,-rpath,$at/lib" "$@"
}

test_kqueue() {
    install_kqueue "$builds/kqueue-installed" &&
        build_with_kqueue kqueue asan -DPCO_KQUEUE_IS_SYSTEM_CALL=1 "${use_clang[@]}" &&
        PORTICO_BACKEND=kqueue run_ctest kqueue kqueue
}

test_kqueue_library() {
    install_kqueue "$builds/kqueue_library-installed" -DSTANDIN_IS_LIBRARY &&
        build_with_kqueue kqueue_library default '' "${use_gcc[@]}" &&
        PORTICO_BACKEND=kqueue run_ctest kqueue_library kqueue_library
}

test_macos() { run_check macos "$root/ci/macos"; }
