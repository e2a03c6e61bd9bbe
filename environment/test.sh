#!/usr/bin/env bash
# Every check of this checkout, inside the environment: lint, types, tests in serial and under MPI.
# Arguments go to every pytest. All checks run; the last line says which failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
failed=()

check() { # NAME COMMAND...
    local name=$1
    shift
    printf '\n==== %s: %s\n' "$name" "$*"
    "$@" || failed+=("$name")
}

mpi_tests() { # RANKS ARG...
    local ranks=$1 color=no
    shift
    [[ ! -t 1 ]] || color=yes # mpirun gives each rank a terminal
    if (($#)); then
        python3 -m pytest -m mpi --collect-only -q "$@" >/dev/null 2>&1
        (($? != 5)) || { echo "no test of this selection is marked mpi"; return 0; }
    fi
    mpirun -n "$ranks" python3 -m pytest -m mpi -p no:cacheprovider "--color=$color" "$@"
}

# Files are shared between two workers a run of everything, where pytest-xdist is there; a selection runs in one, so that
# -s and --pdb work.
serial_tests() { # ARG...
    local workers=()
    if (($# == 0)) && (($(nproc) > 1)) && python3 -c 'import xdist' 2>/dev/null; then
        workers=(-n 2 --dist loadfile)
    fi
    python3 -m pytest ${workers[@]+"${workers[@]}"} "$@"
}

check ruff ruff check .
check mypy python3 -m mypy
check pytest serial_tests "$@"
check "mpi on 2 ranks" mpi_tests 2 "$@"
check "mpi on 3 ranks" mpi_tests 3 "$@"

if ((${#failed[@]})); then
    printf '\n==== FAILED:%s\n' "$(printf ' %s,' "${failed[@]}" | sed 's/,$//')"
    exit 1
fi
printf '\n==== all checks passed\n'
