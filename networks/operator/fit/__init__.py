"""Training of the operator generator."""
