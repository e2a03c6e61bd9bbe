"""The commands of the command line, one module a job; heavy packages are imported inside them."""
