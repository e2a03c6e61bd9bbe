"""Boundary data from a generator file."""
