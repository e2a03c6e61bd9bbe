"""How layers and whole models run on the machine at hand."""
