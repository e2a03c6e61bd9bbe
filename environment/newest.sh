#!/usr/bin/env bash
# Does the product work with the newest releases of what it depends on? Two virtual environments in the cache, made anew
# each day: one like that of a user who installs from here, for the command line alone, and one over the packages of this
# environment, which runs the product. From this environment stay
#   DOLFINx, petsc4py and mpi4py, which one distribution compiles for one MPI and PETSc,
#   h5py, which must share its HDF5 with DOLFINx: the one on the Python package index brings its own,
#   torch, whose newest release on the index is a CUDA build of several GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kept='dolfinx|h5py|mpi4py|torch'
folder=${XDG_CACHE_HOME:-$HOME/.cache}/submodel-newest
venv=$folder/$(date +%F)-$(cat pyproject.toml environment/newest.sh | sha256sum | cut -c 1-8)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '\n==== newest: %s (%d s)\n' "$*" "$SECONDS"; }

# Names of the dependencies in pyproject.toml with their upper bounds, one a line.
dependencies() {
    python3 - <<'PYTHON'
import re, tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
named = project["dependencies"] + sum((extras[name] for name in ("fe", "nn", "compression", "report")), [])
for each in sorted({*named, *(each for each in extras["dev"] if each.startswith(("hypothesis", "pytest")))}):
    print(each)
PYTHON
}

install() { python3 -m pip --python "$1/bin/python3" install --quiet --upgrade --no-warn-script-location "${@:2}"; }

if [[ ! -e $venv/whole ]]; then
    rm -rf "$folder"
    say "building both environments in $venv"
    mapfile -t newest < <(dependencies | grep -vE "^($kept)\b")
    python3 -m venv --system-site-packages --without-pip "$venv/run"
    install "$venv/run" "${newest[@]}"
    python3 -m venv --without-pip "$venv/installed"
    mkdir "$work/source"
    cp -r pyproject.toml README.md LICENSE networks solvers submodel "$work/source"
    install "$venv/installed" "$work/source"
    touch "$venv/whole"
fi

say "releases"
"$venv/run/bin/python3" - <<'PYTHON'
import importlib.metadata as m

names = "numpy scipy pydantic rich typer jinja2 matplotlib pillow gmsh cffi setuptools safetensors tensorly pytest".split()
print(*(f"{name} {m.version(name)}" for name in names), sep=", ")
print("kept:", *(f"{name} {m.version(name)}" for name in ("fenics-dolfinx", "h5py", "mpi4py", "torch")))
PYTHON

say "help of every command, installed alone and over this environment"
cat >"$work/helps.py" <<'PYTHON'
from typer.testing import CliRunner

from submodel.cli.app import app

for name in ["", *(command.callback.__name__ for command in app.registered_commands)]:
    result = CliRunner().invoke(app, [*([name] if name else []), "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (name, result.output, result.exception)
PYTHON
(cd "$work" && env -u PYTHONPATH "$venv/installed/bin/submodel" --help >/dev/null)
(cd "$work" && env -u PYTHONPATH "$venv/installed/bin/python3" helps.py)
"$venv/run/bin/python3" "$work/helps.py"
submodel=("$venv/run/bin/python3" -m submodel)

say "walls"
"$venv/run/bin/python3" -m pytest -q -p no:cacheprovider tests/test_walls.py

say "a small run of the product"
case=cases/paper2d.toml
"${submodel[@]}" generate "$case" -o "$work/data.h5" --train 8 --test 2 --calibration 0
"${submodel[@]}" check "$work/data.h5"
"${submodel[@]}" train "$case" --dataset "$work/data.h5" -o "$work/generator.safetensors" --epochs 3 --rays direct
"${submodel[@]}" compress "$work/generator.safetensors" --method tt --ratio 2 -o "$work/small.safetensors"
"${submodel[@]}" zoom "$case" --generator "$work/small.safetensors" --omega 12 --source 0.6 0.7 -o "$work/zoomed"
"${submodel[@]}" validate "$case" --dataset "$work/data.h5" --generator "$work/generator.safetensors" \
    --json "$work/errors.json" --report "$work/report"
"${submodel[@]}" info "$work/small.safetensors"
say "all of it works"
