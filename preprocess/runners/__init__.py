"""Runs the Beam pipeline on the cores of this machine, on Dataflow, or on another runner of Beam."""
