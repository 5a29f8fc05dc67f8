"""Crops looked through by eye: contact sheets, thumbnails, decisions by hand."""
