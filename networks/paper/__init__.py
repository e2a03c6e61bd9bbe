"""The generators of [A]."""
