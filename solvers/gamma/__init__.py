"""Data on Γ, in NumPy alone: curve, trace, transfer, boundary datum."""
