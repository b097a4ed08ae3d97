"""The command that serves the page."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from refilm.errors import DONE, RefilmError
from refilm.web.settings import Settings


def add_commands(app: App) -> None:
    app.command(web)


def web(*, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> int:
    """Serve a page on which films are dropped, previewed, processed and downloaded.

    refilm web --folder films

    It listens on this computer alone, unless --host says otherwise. Ctrl-C stops it; jobs go on at the next start.
    """
    try:
        from refilm.web.server import serve  # imported here, because it belongs to an extra
    except ModuleNotFoundError as error:
        raise RefilmError(f"{error.name} is needed for the page: pip install 'refilm[web]'") from error
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    serve(settings, lambda address: console.print(f"open {address}", markup=False))
    return DONE
