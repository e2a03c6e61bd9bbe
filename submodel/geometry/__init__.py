"""A problem's geometry without a mesh: arrays, symmetry, travel times, outlines."""
