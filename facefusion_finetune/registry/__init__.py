"""Versions of a person's model: what they are, where they lie, which one FaceFusion uses."""
