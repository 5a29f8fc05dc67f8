"""What the user gives: files found and read, frame by frame."""
