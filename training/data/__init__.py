"""Turns shards into augmented batches."""
