"""The optimisation: steps, their gradients, state, checkpoints, schedule and trackers."""
