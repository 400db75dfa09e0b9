"""Tests, and the comparison with reference numbers (`tests.parity`)."""
