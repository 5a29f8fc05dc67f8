"""The graph in PyTorch, and the proof that it computes the same."""
