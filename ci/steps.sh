# SPDX-License-Identifier: MIT
#
# steps.sh: what the configurations of ci/test are made of. Each step notes in $results what became
# of it, where ci/summary.py finds it. Sourced, after ci/lib.sh; wants $builds and $results, which
# are folders.

use_gcc=(-D CMAKE_C_COMPILER=gcc -D CMAKE_CXX_COMPILER=g++)
use_clang=(-D CMAKE_C_COMPILER=clang -D CMAKE_CXX_COMPILER=clang++)

# build_strictly FOLDER PRESET [cmake arguments]: a build that fails is a failed test.
build_strictly() {
    local folder=$1
    build "$builds/$folder" "${@:2}" -D PORTICO_WERROR=ON && return
    echo "failed build of $folder" >>"$results/$folder-build.checks"
    return 1
}

# run_ctest NAME FOLDER [ctest arguments]: more tests at once than there are processors, since most
# of them wait most of the time.
run_ctest() {
    local name=$1 folder=$2
    shift 2
    without_randomization ctest --test-dir "$builds/$folder" --parallel "$((jobs * 2))" \
        --no-tests=error --output-on-failure --output-junit "$results/$name.xml" \
        --test-output-size-passed 4000000 --test-output-size-failed 4000000 "$@"
}

# run_check NAME COMMAND...: a test that is not one of ctest's. The last line that a command says
# before it exits as skipped is the reason.
run_check() {
    local name=$1 log status=0 pipe
    shift
    log=$builds/$name-check.log
    "$@" 2>&1 | tee "$log" || { pipe=("${PIPESTATUS[@]}") && status=${pipe[0]}; }
    case $status in
    0) echo "passed $name" ;;
    "$skipped") echo "skipped $name: $(tail -n 1 "$log")" ;;
    *) echo "failed $name" ;;
    esac >>"$results/$name.checks"
    ((status == 0 || status == skipped))
}

# The thread sanitizer of gcc 12 cannot live with the address layouts that newer kernels choose.
without_randomization() {
    if setarch --addr-no-randomize true 2>/dev/null; then
        setarch --addr-no-randomize "$@"
    else
        "$@"
    fi
}
