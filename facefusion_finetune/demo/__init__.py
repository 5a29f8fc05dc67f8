"""The built-in demo world: procedural people whose true swap is known, and tiny networks."""
