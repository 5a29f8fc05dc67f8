"""From frames to crops: found, told apart, measured, kept or left out with the reason."""
