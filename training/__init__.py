"""The trainer: streams the shards of one dataset and learns to colour its drawings.

Read the files in this order: `config` (every setting), `dataset` and `strides` (shards to packed batches),
`pixels`, `augment` and `hints` (what the compiled step does first), `models`, `losses`, `metrics`,
`optimizers`, `averages`, `schedule`, `replicas` (the devices that share a step), `learner` (the step
itself), `train` (the story of a run), `state` and `checkpoint` (from which it goes on when it was stopped),
and what a run leaves behind: `record` and `journal`, which calls `history`, `curves`, `panel` and
`scalars`. Afterwards `evaluate` judges a run by `evaluation`, which opens no network before `archive` has
looked at it, beside `baselines`, `compare` puts runs side by side, and `export` writes a network for other
runtimes: `exporting` says how, from `portable` copies whose `parity` is checked, with a `card`, and with
`exported`, which is read without TensorFlow. Hydra is met only in `__main__` and `compose`, other commands
read their `words`; a mistake of the user's becomes one of `errors`.
"""

from training.home import keep_libraries_out

keep_libraries_out()
