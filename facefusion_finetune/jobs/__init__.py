"""One queue of work per machine: extraction, training and judging in processes of their own."""
