"""Judges a trained network: `python -m training.evaluate`."""
