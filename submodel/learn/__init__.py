"""Train and compress."""
