"""Nets scored on test sets: clips, floors, the use of the memory."""
