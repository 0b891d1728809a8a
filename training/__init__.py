"""The trainer: reads the shards of a dataset and trains networks that colour its drawings.

Read the subpackages in the order in which data flow: `data` (shards to augmented batches), `models`,
`metrics`, `loop` (training and checkpoints), `run` (what a run prints and writes), `evaluate` and `export`.
`config` defines every setting. Only `command`, `hydra_config`, `overrides` and `settings_help` use Hydra; the
other commands parse their arguments with `cli`. `errors` has the exceptions for mistakes of users.
"""

from training.environment import protect_home

protect_home()
