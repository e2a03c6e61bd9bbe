"""Impulse responses on Gamma and what signals make of them, for every generator that predicts responses."""
