"""Meshes of a domain and its zone, in parallel."""
