"""Print the manual page of the command, refilm(1), made from what `refilm --help` and its commands' help show.

python tools/man_page.py > refilm.1      # needs docutils; for packages of systems, and for MANPATH/man1
"""

from __future__ import annotations

import re
import sys

from docutils.core import publish_string
from docutils.writers.manpage import Writer

from refilm import __version__
from refilm.cli.main import app

# The title, the subtitle and the fields of which docutils makes the head of a page and its NAME.
_HEAD = """\
{title_line}
refilm
{title_line}
{line}
{summary}
{line}

:Manual section: 1
:Manual group: User commands
:Version: {version}

"""


def man_page() -> str:
    """The page in the language of man(7)."""
    text = re.sub(r"^\.\. (_cyclopts-\S+:|contents::.*(\n   :.*)*)\n", "", app.generate_docs("rst"), flags=re.MULTILINE)
    _, _, body = text.partition("\nrefilm\n======\n")
    summary = app.help.partition(".")[0]
    lines = {"title_line": "=" * len("refilm"), "line": "-" * len(summary)}
    head = _HEAD.format(**lines, summary=summary, version=__version__)
    page = publish_string(head + body, writer=Writer(), settings_overrides={"output_encoding": "unicode"})
    return str(page)


if __name__ == "__main__":
    sys.stdout.write(man_page())
