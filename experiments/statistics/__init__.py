"""Comparisons and their intervals."""
