"""The embedded default world: procedural people whose true swap is known, and tiny networks."""
