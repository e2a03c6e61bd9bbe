"""Decomposed convolutions."""
