"""Case files, their parameters and excitations."""
