"""What training learns from: pairs of an input and its truth."""
