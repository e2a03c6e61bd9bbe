"""Many runs of the explicit scheme at once, in compiled C."""
