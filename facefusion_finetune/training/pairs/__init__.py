"""Training pairs of an input and its truth."""
