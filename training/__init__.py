"""The trainer: streams the shards of one dataset and learns to colour its drawings.

Read the files in this order: `config` (every setting), `dataset` (shards to packed batches), `pixels` and
`augment` (what the compiled step does first), `models`, `losses`, `metrics`, `optimizers`, `schedule`,
`learner` (the step itself), `train` (the story of a run), and what a run leaves behind: `journal`, which
calls `record`, `history`, `curves`, `panel`, `scalars` and `checkpoint`. Afterwards `evaluate` judges a run
by `evaluation`, beside `baselines`. Hydra is met only in `__main__` and
`compose`; a mistake of the user's becomes one of `errors`.
"""
