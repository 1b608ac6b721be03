"""How fast nets, metrics, training and official code are."""
