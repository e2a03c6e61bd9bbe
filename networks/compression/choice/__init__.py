"""Which layers, which ranks."""
