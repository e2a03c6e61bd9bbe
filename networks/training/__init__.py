"""What trainings of both families share."""
