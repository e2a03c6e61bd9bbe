"""Tables 1-18 of [A]."""
