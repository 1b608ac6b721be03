"""W&B, CSV, TensorBoard."""
