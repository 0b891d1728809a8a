"""Sketches to colour."""
