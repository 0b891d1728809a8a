"""Evaluates trained networks: `python -m training.evaluate`."""
