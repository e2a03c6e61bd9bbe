"""Prediction of the operator generator, fast."""
