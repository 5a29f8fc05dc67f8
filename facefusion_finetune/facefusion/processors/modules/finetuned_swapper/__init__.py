"""The processor that swaps with a person's tuned model."""
