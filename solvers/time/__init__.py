"""Time levels and source signals, in NumPy alone."""
