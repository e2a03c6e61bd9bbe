#!/usr/bin/env bash
# The recipe of the private root: what makes its content, and therefore part of its key (see root.sh).
#   build.sh debian ROOT SUITE [MIRROR] [APT OPTION ...]   as (mapped) root in namespaces of its own
#   build.sh python                                        inside the root, mounted writable
#   build.sh check                                         inside the root, as it will be used
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=/usr/local/venv

names_in() { sed 's/#.*//' "$1" | xargs; }

# Standard input is the life line: it ends when the calling ./run ends, however that happened. This process is then
# the first of its PID namespace, so that its own end takes every process of the build with it.
while_alive() {
    exec 3<&0
    cat <&3 >/dev/null &
    local life=$!
    "$@" </dev/null &
    local job=$!
    wait -n || true
    kill -0 "$life" 2>/dev/null || exit 130
    wait "$job"
}

install_debian() {
    local root=$1 suite=$2 mirror=$3 option
    shift 3
    local options=(--verbose --variant=apt --mode=root --format=directory)
    options+=("--include=$(names_in "$here/debian.txt" | tr ' ' ',')")
    options+=(--dpkgopt=force-unsafe-io) # a build that ends halfway is thrown away
    for option in doc man locale info; do
        options+=("--dpkgopt=path-exclude=/usr/share/$option/*")
    done
    for option in "$@"; do
        options+=("--aptopt=$option")
    done
    while_alive mmdebstrap "${options[@]}" "$suite" "$root" ${mirror:+"$mirror"}
    # What belongs to apt's own user could not be removed by an ordinary user later; the root needs no apt any more.
    rm -rf "$root"/var/lib/apt/lists "$root"/var/cache/apt
    touch "$root"/etc/{resolv.conf,hosts,pip.conf}
    [[ -z ${ROOT_OWNER:-} ]] || chown -R "$ROOT_OWNER" "$root" # built by sudo for an ordinary user
}

install_python() {
    python3 -m venv --system-site-packages --without-pip "$venv"
    local tool
    for tool in mypy pytest; do # Debian's own launchers would not see the virtual environment
        printf '#!/bin/sh\nexec %s/bin/python3 -m %s "$@"\n' "$venv" "$tool" >"$venv/bin/$tool"
        chmod +x "$venv/bin/$tool"
    done
    # In place of this shell, so that it ends when the calling ./run does.
    exec python3 -m pip --python "$venv/bin/python3" install --no-warn-script-location -r "$here/pip.txt"
}

check() {
    python3 -c 'import dolfinx, torch, h5py, tensorly; print("DOLFINx", dolfinx.__version__, "torch", torch.__version__)'
    ruff --version
    mpirun -n 2 python3 -c 'from mpi4py import MPI; assert MPI.COMM_WORLD.allreduce(1) == 2'
}

main() {
    case $1 in
        debian) install_debian "${@:2}" ;;
        python) install_python ;;
        check) check ;;
    esac
}

main "$@"
exit # bash has read the whole file by now: it may change meanwhile
