"""Evaluates a tuned model on held-out footage: metrics, protocol, report."""
