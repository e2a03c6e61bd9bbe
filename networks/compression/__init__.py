"""Compression of trained networks by matrix, tensor and coupled tensor decompositions."""
