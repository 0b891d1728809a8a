"""The errors that a command reports as one sentence, with their exit codes."""


class LinewashError(Exception):
    """An error that a user can fix. The message says what was found, what was expected and what to type."""

    exit_code = 1


class UsageError(LinewashError):
    """Wrong usage: an unknown key, a value that is not allowed, or a path that is not a dataset."""

    exit_code = 2


class WorkError(LinewashError):
    """The usage is right, but the work fails: for example at a damaged shard or a loss that is not finite."""

    exit_code = 1
