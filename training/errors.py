"""The two ways a command can fail, each with one sentence for its user and an exit code for scripts."""


class LinewashError(Exception):
    """Something the user can mend. The message says what was found, what was expected and what to type."""

    exit_code = 1


class UsageError(LinewashError):
    """What was typed cannot be meant: a wrong key or value, or a path that is not a dataset."""

    exit_code = 2


class WorkError(LinewashError):
    """What was typed is right, but the work cannot be done: a damaged shard, a loss that is not finite."""

    exit_code = 1
