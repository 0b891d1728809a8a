"""The messages of a training run and the files in its directory."""
