"""Zoomed runs beside full runs."""
