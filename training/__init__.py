"""The trainer: streams the shards of one dataset and learns to colour its drawings.

Read the rooms in the order in which data flow: `data` (shards to augmented batches), `models`, `metrics`,
`loop` (the training loop and the state from which a run resumes), `run` (what a run prints and writes),
then `evaluate` and `export`. `config` has every setting. Hydra is used only in `command`, `hydra_config` and
`overrides`; the other commands parse their arguments with `cli`. A user's mistake becomes one of `errors`.
"""

from training.environment import protect_home

protect_home()
