"""The training recipe: pairs, losses, activation cache, engine, and a run's setup and finish."""
