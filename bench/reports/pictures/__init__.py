"""Figures and heatmap galleries."""
