"""A run: its record, and everything that training and evaluation share."""
