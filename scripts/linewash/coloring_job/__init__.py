"""Colours the drawings of folders and buckets as an Apache Beam job.

The modules in the order of the data flow: `options` (command line), `drawings` (folders and buckets to a list
of drawings), `network_files` (an export, from here or from a bucket, to the workers), `recipe` and `painter`
(the settings, and one drawing), `batch_writer` (a list of drawings to files), `pipeline` (the Beam graph),
`output` (what is finished, and what was rejected), `job` (all of these), `cli` (the command).
"""
