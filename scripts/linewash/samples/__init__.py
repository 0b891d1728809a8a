"""Sample drawings made by code."""
