"""Draws lines from pictures: one module for each line style, free of Beam."""
