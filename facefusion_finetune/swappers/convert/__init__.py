"""The graph in PyTorch, and the check that it computes the same as onnxruntime."""
