"""From a case to solvers, and jobs over MPI."""
