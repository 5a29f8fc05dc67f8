"""Manual review of crops: contact sheets, thumbnails, and choices."""
