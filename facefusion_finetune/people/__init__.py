"""Who, with what consent, and what of theirs lies outside the home."""
