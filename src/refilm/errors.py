"""The errors that a user can cause and fix, and exit codes. The command prints these errors without a traceback."""


class RefilmError(Exception):
    """Base of all errors about arguments, files, jobs and weights.

    Functions on tensors raise ValueError and TypeError for wrong values and types.
    """


class UsageError(RefilmError, ValueError):
    """An argument is wrong. The command ends with exit code 2."""


class VideoError(RefilmError):
    """A file cannot be read or written as video."""


class JobError(RefilmError):
    """A job cannot start or continue, because the output exists, settings have changed, or the disk is full."""


class WeightsError(RefilmError):
    """A weight file is missing, damaged, or belongs to another model."""


class Stopped(KeyboardInterrupt):
    """A job was stopped by Ctrl-C. The message says what is kept of it."""


# Exit codes of the command.
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
