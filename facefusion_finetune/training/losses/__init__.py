"""What a step is scored by."""
