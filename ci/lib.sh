# SPDX-License-Identifier: MIT
# lib.sh: what the scripts of this folder share. Sourced, by bash, after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/portico
jobs=$(nproc)

# Nothing here reads from a terminal, and what would ask a question gets no answer.
exec </dev/null
export DEBIAN_FRONTEND=noninteractive

say() { printf '\n== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# What this machine cannot do is skipped, by name and with the reason, as the last thing said: ci/test
# counts what exits so, as ctest does.
skipped=77

skip() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$skipped"
}

# ---- Packages of Debian and its kin ----

apt_patience=600 # seconds for another apt to end
lists_are_new=

# apt waits for dpkg's lock when it is told to, but never for that of the lists of packages.
apt_get() { apt-get -qq -o DPkg::Lock::Timeout="$apt_patience" "$@"; }

update_lists() {
    local tries said
    [[ -z $lists_are_new ]] || return 0
    for ((tries = apt_patience / 5; tries > 0; tries--)); do
        said=$(apt_get update 2>&1) && break
        [[ $said == *lists/lock* ]] || break
        sleep 5
    done
    [[ -z $said ]] || printf '%s\n' "$said" >&2
    lists_are_new=yes
}

is_installed() {
    [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == *' installed' ]]
}

# Installs those packages that are missing; touches nothing if none is.
need_packages() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    ((EUID == 0)) || die "not root, and these packages are missing: ${missing[*]}"
    say "installing ${missing[*]}"
    update_lists
    apt_get -y --no-install-recommends install "${missing[@]}" >/dev/null
}

# Whether need_packages would get a package that not every distribution has.
can_have_package() {
    is_installed "$1" && return
    ((EUID == 0)) && command -v apt-get >/dev/null || return 1
    apt-cache show "$1" >/dev/null 2>&1 && return
    update_lists
    apt-cache show "$1" >/dev/null 2>&1
}

# The run-time libraries of clang's sanitizers are a package that clang's own does not ask for.
need_clang() {
    local version
    need_packages clang llvm
    version=$(clang -dumpversion)
    need_packages "libclang-rt-${version%%.*}-dev"
}

# ---- Files and builds ----

# The files of the project, tracked or about to be, that match the patterns; one a line.
project_files() {
    git -C "$root" -c safe.directory="$root" ls-files --cached --others --exclude-standard \
        --deduplicate -- "$@" | while IFS= read -r file; do
        [[ -f $root/$file ]] && printf '%s\n' "$file"
    done
}

# Lets ccache, where it is installed, remember what was compiled.
use_ccache() {
    command -v ccache >/dev/null || return 0
    export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    export CCACHE_DIR=$cache/ccache
}

# build FOLDER PRESET [cmake arguments]: configures one of CMakePresets.json, and builds it.
build() {
    local folder=$1 preset=$2
    shift 2
    (cd "$root" && cmake --preset "$preset" -B "$folder" "$@" >"$folder.log" 2>&1) ||
        { cat "$folder.log" && return 1; }
    cmake --build "$folder" --parallel "$jobs" -- --quiet
}
