"""The commands (`python -m experiments.run` and its neighbours) and the rooms below them."""
