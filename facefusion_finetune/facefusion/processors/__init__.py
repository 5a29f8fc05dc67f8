"""Processors, laid out like FaceFusion's own `processors`."""
