"""The loss terms of a training step."""
