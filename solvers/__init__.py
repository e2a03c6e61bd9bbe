"""Finite-element wave solvers on DOLFINx: the full domain and the zone of interest."""
