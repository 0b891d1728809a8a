"""The command line of the trainer, also installed as `linewash-train`.

python -m training data.root=DATASET [overrides]    trains
python -m training run=RUN_DIR [trainer.epochs=N]   continues a run
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from training.cli import TRAINER, command_name, run_command, version_line


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, once or for each job of a sweep; returns the exit code.

    Args:
      argv: the arguments; those of this process if None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        if "--version" in arguments:
            print(version_line(command_name(TRAINER)))
            return 0
        # Imported here: where Hydra is not installed, its absence is reported in a sentence.
        from training.command import run

        return run(arguments)

    return run_command(command_name(TRAINER), work)


if __name__ == "__main__":
    sys.exit(main())
