"""The wave table: amplitudes of u and r on Gamma at K frequencies, linear in the source, computed from a few runs.

``amplitudes(x) = sum over the corners i of x's cell of w_i(x) Phi_k[i] L_k R_k G_band``. `data` holds the runs, `fit`
the maps between loads, `bases` Phi_k, `compress` makes the factors, `solve` does all of it. These need NumPy and SciPy
alone; the module, its specification and its predictor need torch.
"""
