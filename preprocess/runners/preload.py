"""What every local worker needs, imported once by the server that they are forked from: see worker.py."""

import logging

from preprocess.runners.worker import is_debugging

if not is_debugging():
    logging.disable(logging.CRITICAL)  # Beam warns of all that it could not find

import apache_beam.runners.worker.sdk_worker_main  # noqa: F401

import preprocess.pipeline  # noqa: F401
