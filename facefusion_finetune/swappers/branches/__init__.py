"""Low-rank branches parallel to a swapper's layers, which open only for one person's vector."""
