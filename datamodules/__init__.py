"""Clips of people before places, with all that is true of them: sources, composites, test sets, data modules."""
