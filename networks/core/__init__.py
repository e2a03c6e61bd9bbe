"""Parts that every network uses: processes, files, shared weights."""
