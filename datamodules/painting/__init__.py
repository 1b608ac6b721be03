"""People and places made by code."""
