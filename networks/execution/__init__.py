"""Execution of layers and whole models on the machine at hand."""
