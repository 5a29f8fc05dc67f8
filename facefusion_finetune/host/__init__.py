"""The FaceFusion folder: found, linked, started, and every difference between its versions."""
