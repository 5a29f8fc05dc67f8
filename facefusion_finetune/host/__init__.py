"""The FaceFusion folder: found, linked, started; and the differences between its versions."""
