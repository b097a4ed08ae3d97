"""The options of `refilm web`. Loads nothing, so that the command can show its help at once."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from refilm.errors import UsageError

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Settings:
    """How the page is served."""

    folder: tuple[Path, ...] = ()
    "Folder whose films may be named on the page, with all folders in it; can be given repeatedly. Default: none."
    work: Path = Path("refilm-web")
    "Folder for uploads, results and the queue; it is made if it does not exist."
    host: str = "127.0.0.1"
    "Address to listen on; 0.0.0.0 for all. On other than this computer's own, the page asks for a token."
    port: int = 8000
    "Port to listen on; 0 for any that is free."
    name: tuple[str, ...] = ()
    "Name by which browsers reach the page, such as films.example.org behind a reverse proxy; can be given repeatedly."
    token: str | None = None
    "Token that the page asks for, of 16 characters or more. Default: a random one where one is needed."
    max_upload: float = 20.0
    "Largest film that is taken, in GB of 10^9 bytes."
    jobs: int = 1
    "Number of jobs at a time; they share the processor cores. Previews run beside them, one at a time."

    def __post_init__(self) -> None:
        for folder in self.folder:
            if not folder.is_dir():
                raise UsageError(f"--folder wants a folder of films, and {folder} is none")
        if not 0 <= self.port < 65536:
            raise UsageError(f"--port is a number from 0 to 65535, got {self.port}")
        if self.token is not None and len(self.token) < _SHORTEST_TOKEN:
            raise UsageError(
                f"--token wants at least {_SHORTEST_TOKEN} characters, got {len(self.token)}; "
                "leave it out for a random one"
            )
        if not self.max_upload > 0:
            raise UsageError(f"--max-upload is a number of GB above 0, got {self.max_upload:g}")
        if self.jobs < 1:
            raise UsageError(f"--jobs must be at least 1, got {self.jobs}")

    @property
    def needs_token(self) -> bool:
        """Whether others than the users of this computer can reach the page."""
        return bool(self.name) or not is_loopback(self.host)

    @property
    def names(self) -> set[str]:
        """All names by which the server is known, besides addresses and localhost."""
        return {*self.name, self.shown_host}

    @property
    def shown_host(self) -> str:
        """The host in the address that is printed."""
        return socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host


def is_loopback(host: str) -> bool:
    """Whether an address, or localhost, is reached from this computer alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
