"""Colour your own drawings: a file's bytes -> lines that the network knows -> colours -> picture and layers."""
