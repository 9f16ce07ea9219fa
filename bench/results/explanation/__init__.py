"""Where in a frame the evidence lies: maps of several depths agreed, the parts of a face, the hottest places."""
