"""Sections of the page, each with `render` and `listen`."""
