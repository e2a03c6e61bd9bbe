"""Make datasets."""
