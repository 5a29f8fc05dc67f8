"""The recipe: pairs, losses, the loop, checkpoints, presets."""
