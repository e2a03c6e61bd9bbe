"""Neural networks of the boundary generator: torch inside, NumPy across; no file but the checkpoint."""
