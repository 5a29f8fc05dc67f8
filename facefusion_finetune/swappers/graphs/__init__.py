"""What a swapper's graph does: sizes, dependencies, trainable layers, and their cost."""
