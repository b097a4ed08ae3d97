"""What makes a job this one and no other: a record of everything that its output depends on, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any


def digest_of(identity: dict[str, Any]) -> str:
    """The whole record in one word, for reports."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(former: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Each entry that differs, as "settings.denoise.sigma was 20, now is 25"."""
    for key in sorted(former.keys() | now.keys()):
        before, after = former.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before}, now is {after}"
