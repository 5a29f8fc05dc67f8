"""The base swappers as data, and their graphs: read, convert, write back."""
