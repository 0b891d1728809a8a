"""The command line of the trainer: reports every failure in a sentence, also that of a missing package.

python -m training data.root=DATASET [overrides]    trains
python -m training run=RUN_DIR [trainer.epochs=N]   continues a run that was stopped
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from training.cli import run_command

COMMAND = "python -m training"


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, once or for each job of a sweep; returns the exit code.

    Args:
      argv: the words after the command's name; those of the process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        # Only here: where Hydra is not installed, its absence is reported as a sentence.
        from training.command import run

        return run(words)

    return run_command(COMMAND, work)


if __name__ == "__main__":
    sys.exit(main())
