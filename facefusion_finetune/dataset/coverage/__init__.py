"""What a person's crops show and what they lack: measured, in words, as a picture."""
