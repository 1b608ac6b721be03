"""A stage trained, resumed, averaged; devices; the data of a stage."""
