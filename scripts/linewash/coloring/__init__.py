"""Colours drawings with a trained network.

Read the files in the order in which data flow: `image_io` (a file's bytes to pixels), `thinning` and
`line_extraction` (pixels to the lines that the network takes), `model_loader` (lines to scores),
`segmentation` and `label_decoding` (scores to colours), `hint_strokes` (a person's hints), `colorize` (all
of it together), `openraster` and `output_paths` (files), `cli` (the command).
"""
