"""What a batch holds: one file for each contract."""
