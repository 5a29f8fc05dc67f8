"""Coverage of a person's crops: measured, described in words, drawn as a picture."""
