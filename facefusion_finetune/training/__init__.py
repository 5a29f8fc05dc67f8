"""The recipe: pairs, losses, cached features, the engine, and what a run begins and ends with."""
