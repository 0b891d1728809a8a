"""Imports what every local worker needs. The server that workers are forked from imports this module once.

ONNX Runtime is left out: its threads would not survive the fork.
"""

import preprocess.runners.preload  # noqa: F401
