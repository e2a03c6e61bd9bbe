"""Mesh a geometry of this folder: ``python3 meshes/generate.py meshes/plate.geo plate.msh --size 0.05``."""

from __future__ import annotations

import argparse
from pathlib import Path

import gmsh


def generate(geometry: Path, mesh: Path, *, size: float | None = None, quads: bool = False) -> None:
    """Write the mesh of a .geo file.

    Args:
        geometry: The .geo file; it may define the constant ``size``, the wanted edge length.
        mesh: The .msh file to write.
        size: Another edge length than the geometry's own.
        quads: Whether to cut the plane into quadrilaterals, for the element ``gll``.
    """
    constants = [] if size is None else ["-setnumber", "size", str(size)]
    gmsh.initialize(["gmsh", *constants], readConfigFiles=False, interruptible=False)
    try:
        gmsh.option.setNumber("General.Verbosity", 1)
        gmsh.open(str(geometry))
        if quads:  # triangles are paired, then every cell is cut in quadrilaterals: none is left over
            gmsh.option.setNumber("Mesh.RecombineAll", 1)
            gmsh.option.setNumber("Mesh.SubdivisionAlgorithm", 1)
            gmsh.option.setNumber("Mesh.MeshSizeFactor", 2.0)
        gmsh.model.mesh.generate(2)
        gmsh.write(str(mesh))
    finally:
        gmsh.finalize()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("geometry", type=Path, help="a .geo file")
    parser.add_argument("mesh", type=Path, help="the .msh file to write")
    parser.add_argument("--size", type=float, help="edge length (default: the geometry's own)")
    parser.add_argument("--quads", action="store_true", help="quadrilaterals, for the element gll")
    args = parser.parse_args()
    generate(args.geometry, args.mesh, size=args.size, quads=args.quads)


if __name__ == "__main__":
    main()
