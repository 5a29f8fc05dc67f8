"""Tune FaceFusion's face swappers to one consenting person."""

__version__ = "0.1.0"
