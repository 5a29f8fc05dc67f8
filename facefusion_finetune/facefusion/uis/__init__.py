"""Code that runs in FaceFusion's UI, which detects its app context by this folder's name."""
