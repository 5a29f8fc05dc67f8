"""Processors, as under FaceFusion's own `processors`."""
