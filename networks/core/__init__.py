"""What every network uses: processes, files, shared weights."""
