"""One folder per processor."""
