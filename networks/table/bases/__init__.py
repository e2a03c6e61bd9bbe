"""Bases over the nodes of a source area, one matrix a frequency: made anew where a table is loaded, never stored."""
