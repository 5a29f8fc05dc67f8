"""The base swappers as data, and their graphs: read, converted, written back."""
