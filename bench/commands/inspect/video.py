"""A video."""
