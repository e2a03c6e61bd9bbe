"""Layers whose weights are kept as factors."""
