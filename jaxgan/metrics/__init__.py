"""Distances and scores of generated images; they know no system."""
