"""A run on disk: its checkpoints, records and report."""
