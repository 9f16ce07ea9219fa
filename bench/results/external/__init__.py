"""Scores that were made elsewhere: reading their files, and bringing their frames into line."""
