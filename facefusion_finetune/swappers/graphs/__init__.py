"""What a swapper's graph does: sizes, dependences, what may be trained, what that costs."""
