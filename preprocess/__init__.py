"""Preprocessing: an Apache Beam job that converts images, once, into TFRecord shards of edges and labels."""
