"""Time stepping: the explicit and the implicit scheme."""
