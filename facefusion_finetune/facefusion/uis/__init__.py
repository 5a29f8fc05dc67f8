"""Code that runs in FaceFusion's UI; it finds its state by this folder's name."""
