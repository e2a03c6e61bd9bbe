"""Timings of the parts of a run."""
