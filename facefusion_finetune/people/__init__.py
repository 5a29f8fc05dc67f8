"""Who a person is, their consent, and where their data is outside the home."""
