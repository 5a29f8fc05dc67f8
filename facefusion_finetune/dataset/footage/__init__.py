"""The user's footage: files found, and read frame by frame."""
