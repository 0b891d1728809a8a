"""Imports what every local worker needs. The server that workers are forked from imports this module once."""

import logging

from preprocess.runners.worker import is_debugging

if not is_debugging():
    logging.disable(logging.CRITICAL)  # Beam warns of every optional package that is missing

import apache_beam.runners.worker.sdk_worker_main  # noqa: F401

import preprocess.pipeline  # noqa: F401
