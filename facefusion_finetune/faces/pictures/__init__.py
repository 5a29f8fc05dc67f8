"""Picture files that somebody else made: what they are, and decoding them within limits."""
