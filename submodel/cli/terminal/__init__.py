"""Errors, progress, options."""
