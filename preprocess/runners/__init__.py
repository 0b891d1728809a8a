"""Runs the Beam pipeline: on the cores of this machine, or on Dataflow."""
