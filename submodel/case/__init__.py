"""What a case file says."""
