"""What is held about a person, and how all of it is deleted and shown to be gone."""
