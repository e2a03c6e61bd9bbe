"""Build a generator to a tolerance: runs, the form that does best, its bound and its report."""
