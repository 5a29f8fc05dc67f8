"""Training settings as data, and the measured gain of each preset."""
