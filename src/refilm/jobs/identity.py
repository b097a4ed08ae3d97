"""The identity of a job, a record in JSON's types of everything that its output depends on: digest and differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any


def digest_of(identity: dict[str, Any]) -> str:
    """SHA-256 of the record, for reports."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(former: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """A text for each entry that differs, such as "settings.denoise.sigma was 20, now is 25"."""
    for key in sorted(former.keys() | now.keys()):
        before, after = former.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before}, now is {after}"
