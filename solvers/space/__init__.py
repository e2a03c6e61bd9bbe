"""Finite-element spaces on a mesh: matrices, points, the nodes of Γ, stable steps."""
