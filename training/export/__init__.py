"""Writes a trained network for other runtimes: `python -m training.export`."""
