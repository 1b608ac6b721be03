"""A user's own video through a net into files."""
