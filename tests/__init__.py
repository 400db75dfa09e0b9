"""Tests, comparison with reference numbers (`parity`), and `endurance`."""
