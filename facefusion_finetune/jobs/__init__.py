"""One job queue per machine: extraction, training and evaluation in separate processes."""
