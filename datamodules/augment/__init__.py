"""What changes a clip before and after it is composited, drawn from its own dice."""
