"""Fields of a zone run for ParaView, by DOLFINx's own writers."""

from __future__ import annotations

from pathlib import Path

from dolfinx import fem, io

from solvers.zone import ZoneModel, ZoneRun


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
    comm, linear = model.V.mesh.comm, model.how.degree == 1
    num_owned = run.displacement.shape[1]
    path = folder / ("fields.xdmf" if linear else "fields.bp")
    if linear:
        writer = io.XDMFFile(comm, str(path), "w")
        writer.write_mesh(model.V.mesh)
    else:
        writer = io.VTXWriter(comm, str(path), [displacement, velocity])
    with writer:
        for level, time in enumerate(run.times):
            for function, values in ((displacement, run.displacement), (velocity, run.velocity)):
                function.x.array[:num_owned] = values[level]
                function.x.scatter_forward()
                if linear:
                    writer.write_function(function, float(time))
            if not linear:
                writer.write(float(time))
    return path
