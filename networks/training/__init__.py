"""Training, the same for every family of generators."""
