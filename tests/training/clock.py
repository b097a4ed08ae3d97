"""Time in tests."""


class Clock:
    """A clock that only moves when it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now
