"""Dataset files."""
