"""Nets, their metrics and objectives, and the LightningModule that trains them."""

__version__ = "0.1.0"
