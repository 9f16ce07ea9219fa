"""The HTTP service of loaded variants: what it answers, what it refuses, and how requests become batches."""
