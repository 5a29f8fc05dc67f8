"""A recipe's settings as data, and what each preset was measured to bring."""
