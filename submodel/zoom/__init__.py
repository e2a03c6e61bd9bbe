"""Zoomed runs."""
