"""The pictures of a folder: variants loaded once, a gallery, a table, and the inspection of each."""
