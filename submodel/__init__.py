"""Couples finite element solvers with boundary-generator networks: cases, datasets, runs, the command line."""

__version__ = "0.1.0"
