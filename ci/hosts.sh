# SPDX-License-Identifier: MIT
#
# hosts.sh: the configuration of ci/test that is about loops in window systems. Sourced by it.
#
#   hosts   the programs of examples/hosts with GTK 4 and Qt on an X server that nobody sees, and the
#           one for Windows there under Wine: tests/hosts. Pictures of what they show are left in
#           the build folder, hosts-pictures
#
# It needs some 150 packages on a bare machine, the most of all configurations: PORTICO_HOSTS=off
# leaves it out.

hosts_packages=(libgtk-4-dev qt6-base-dev xvfb xdotool imagemagick)

# Neither the tests of the library, which other configurations build, nor what is installed.
hosts_only=(-D PORTICO_TESTS=OFF -D PORTICO_BOTH=OFF -D PORTICO_INSTALL=OFF)

test_hosts() {
    if [[ ${PORTICO_HOSTS:-} == off ]]; then
        echo 'skipped hosts: PORTICO_HOSTS is off' >>"$results/hosts.checks"
        return
    fi
    need_packages "${hosts_packages[@]}"
    mkdir -p "$builds/hosts-pictures"
    local status=0
    test_hosts_linux || status=1
    test_hosts_windows || status=1
    return "$status"
}

test_hosts_linux() {
    build_strictly hosts default "${use_gcc[@]}" -D PORTICO_HOSTS=ON "${hosts_only[@]}" &&
        run_hosts hosts ''
}

test_hosts_windows() {
    prepare_windows && build_windows hosts_windows x86_64 "${hosts_only[@]}" &&
        run_hosts hosts_windows "$root/ci/windows-run"
}

# run_hosts FOLDER LAUNCHER
run_hosts() {
    run_check "$1" env -C "$root/tests/hosts" PORTICO_BIN="$builds/$1/examples" PORTICO_RUN="$2" \
        PORTICO_SHOTS="$builds/hosts-pictures" timeout 600 python3 -B -m unittest -v test_hosts
}
