"""Losses, scores and baselines, and the colour spaces that they need."""
