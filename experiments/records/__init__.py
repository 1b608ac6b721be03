"""What a cell leaves on disk, and in what world it was made."""
