"""One run: its record, and all that training and judging both work on."""
