"""Room 3: what a variant says about every frame, how fast, and how good that is."""
