"""Exports trained networks to other runtimes: `python -m training.export`."""
