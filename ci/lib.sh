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

# Installs those Debian packages that are missing; touches nothing if none is.
need_packages() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *' installed' ]] ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    ((EUID == 0)) || die "not root, and these packages are missing: ${missing[*]}"
    say "installing ${missing[*]}"
    apt-get -qq update
    apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}

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
