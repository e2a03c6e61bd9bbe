"""The quantities on Γ that generators predict, in their order."""

FIELDS = ("displacement", "velocity", "load")
