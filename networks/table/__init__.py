"""Wave tables: generators that are computed instead of trained, linear from a source's place to amplitudes on Γ."""
