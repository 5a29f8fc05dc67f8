"""Versions of a person's model: their files, and which one FaceFusion uses."""
