"""The operator generator."""
