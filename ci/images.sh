# SPDX-License-Identifier: MIT
#
# images.sh: the configurations of ci/test that need another Debian than this machine's. Sourced by
# it. Each builds and runs the short tests, with assertions, in a bare image that ci/image makes.
#
#   newest   Debian 13: gcc 14 and OpenSSL 3.5; and everything is compiled by its clang 19, too
#   i386     32 bits, by the same versions. A cross compiler makes the programs, and qemu runs them
#            where the kernel does not; that of Debian 12 would mix up the threads' own variables
#            in signal handlers
#
# Where no image can be made, image_NAME is skipped. A failure inside of one is a failure.

image_packages=(build-essential cmake ninja-build pkg-config ccache python3 curl openssl netbase)

test_newest() {
    test_in_image newest trixie clang libssl-dev libcmocka-dev zlib1g-dev libzstd-dev
}

test_i386() {
    test_in_image i386 trixie gcc-i686-linux-gnu g++-i686-linux-gnu qemu-user \
        libssl-dev:i386 libcmocka-dev:i386
}

# test_in_image NAME SUITE PACKAGE...
test_in_image() {
    local name=$1 image=$builds/image-$1
    shift
    run_check "image_$name" "$root/ci/image" make "$image" "$@" "${image_packages[@]}" || return 1
    [[ -d $image ]] || return 0 # skipped
    "$root/ci/image" run "$image" "$builds" "$results" /portico/source/ci/image-tests "$name"
}
