"""The runs: full domain, zone, reciprocal."""
