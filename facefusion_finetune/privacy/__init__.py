"""What is held about a person, how all of it is deleted, and how that is verified."""
