"""Modules that two systems share."""
