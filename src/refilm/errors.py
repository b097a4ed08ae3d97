"""The errors a user can cause and mend. The command prints them in one line, without a traceback."""


class RefilmError(Exception):
    """Base of every error about files, jobs and weights; values and types raise ValueError and TypeError."""


class UsageError(RefilmError, ValueError):
    """An argument is wrong: the command's exit code 2."""


class VideoError(RefilmError):
    """A file cannot be read or written as video."""


class JobError(RefilmError):
    """A job cannot start or go on: the output exists, the settings changed, the disk is full."""


class WeightsError(RefilmError):
    """A weight file is missing, damaged, or belongs to another model."""


# How the command ends.
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
