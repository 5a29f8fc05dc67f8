"""What the frozen part made of each pair, kept: steps run only what is trained."""
