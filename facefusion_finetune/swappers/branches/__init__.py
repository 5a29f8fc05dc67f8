"""Low-rank branches beside a swapper's layers, which open for one person's vector alone."""
