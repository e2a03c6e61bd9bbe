"""Fields of a zone run for ParaView, by DOLFINx's own writers."""

from __future__ import annotations

from pathlib import Path

from dolfinx import fem, io

from solvers.problems.zone import ZoneModel, ZoneRun


def write_fields(model: ZoneModel, run: ZoneRun, folder: Path) -> Path:
    """Displacement and velocity at every level. Collective on the zone's comm.

    Linear elements go to XDMF with HDF5, higher ones to VTX (ADIOS2), which keeps their degree.

    Args:
        model: The zone.
        run: Its result.
        folder: An existing folder.

    Returns:
        The file to open.
    """
    displacement, velocity = fem.Function(model.V, name="displacement"), fem.Function(model.V, name="velocity")
    states = ((displacement, run.displacement), (velocity, run.velocity))
    comm = model.V.mesh.comm

    def load(level: int) -> None:
        for function, values in states:
            function.x.array[model.nodes] = values[level]
            function.x.scatter_forward()

    if model.discretization.degree == 1:
        path = folder / "fields.xdmf"
        with io.XDMFFile(comm, str(path), "w") as xdmf:
            xdmf.write_mesh(model.V.mesh)
            for level, time in enumerate(run.times):
                load(level)
                xdmf.write_function(displacement, float(time))
                xdmf.write_function(velocity, float(time))
        return path
    path = folder / "fields.bp"
    with io.VTXWriter(comm, str(path), [displacement, velocity]) as vtx:
        for level, time in enumerate(run.times):
            load(level)
            vtx.write(float(time))
    return path
