"""A finished experiment's variants applied to new pictures: which are loaded, and what they judge of a picture."""
