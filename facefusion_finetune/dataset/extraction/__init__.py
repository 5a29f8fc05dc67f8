"""From frames to crops: detected, identified, measured, and kept or rejected with a reason."""
