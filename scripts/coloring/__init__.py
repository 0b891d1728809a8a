"""Colour your own drawings.

Read the files in this order: `page` (a file's bytes to pixels), `thinning` and `drawing` (pixels to lines as
the network knows them), `network` (lines to scores), `regions` and `decode` (scores to colours), `strokes`
(a person's hints), `picture` (all of it together), `layers` and `outputs` (files), `command`.
`sketches` draws what to try it on.
"""
