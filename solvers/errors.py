"""The base of every error of the solvers whose message names a remedy."""


class SolverError(Exception):
    """Work of the solvers that cannot be done as asked; the message says why and what to do."""
