"""The offline half: JPEGs in, sharded TFRecords of (edges, labels) out, once, as an Apache Beam job."""
