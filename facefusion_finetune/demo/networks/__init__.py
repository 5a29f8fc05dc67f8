"""Training of the demo's tiny networks; not imported at run time."""
