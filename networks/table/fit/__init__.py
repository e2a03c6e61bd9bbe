"""Maps between loads on Gamma and tables from plain samples: regressions at each frequency, errors included."""
