"""Pages of the site that are not in docs/: measured figures from results/, and what they say of each model.

A hook of mkdocs, see mkdocs.yml. No figure is typed: all are copied from the tables that commands have written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from refilm.models.table import MODELS
from refilm.tasks import TASKS

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "results").rglob("*.md"))
SCHEMA = Path("src/refilm/cli/events.schema.json")
ROW = re.compile(r"^\| *([^|]+?) *\|.*\|$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of results with their pictures, the page of models, and the schema of events."""
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in (".md", ".png", ".csv"):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    files.append(File.generated(config, SCHEMA.name, abs_src_path=str(ROOT / SCHEMA)))
    files.append(File.generated(config, "models.md", content=models_page()))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lead to the results, folder by folder."""
    groups: dict[str, list[str]] = {}
    for path in RESULTS:
        groups.setdefault(path.parent.name.capitalize(), []).append(str(path.relative_to(ROOT)))
    single = groups.pop("Results", [])
    assert config.nav is not None
    config.nav.insert(-1, {"Measured": [*single, *({name: pages} for name, pages in groups.items())]})
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to where their files are on the site."""
    if page.file.src_uri.startswith("results/"):
        return markdown
    return markdown.replace("](../results/", "](results/").replace(f"](../{SCHEMA})", f"]({SCHEMA.name})")


def models_page() -> str:
    """A section for each task, and in it one for each model whose weights ship, with its rows of all tables."""
    text = ["# Models", "Models whose weights ship, or that need none, and what was measured for them."]
    for task in TASKS.values():
        names = [name for name, row in MODELS.items() if row.task == task.name and (row.weights or not row.learned)]
        if names:
            text.append(f"## {task.name}\n\n{task.summary.partition(chr(10))[0]} `refilm {task.verb}`")
        for name in names:
            text.append(f"### {name}\n\n" + "\n\n".join(rows_of(name)))
    return "\n\n".join(text) + "\n"


def rows_of(name: str) -> Iterator[str]:
    """What the tables of results/ say of a model: for each table, where it stands, its head and the model's rows."""
    for path in RESULTS:
        heading = head = ""
        for block in path.read_text().split("\n\n"):
            lines = block.strip().splitlines()
            if lines and lines[0].startswith("#"):
                heading = lines[0].lstrip("# ")
            if len(lines) < 3 or not all(map(ROW.match, lines)):
                continue
            found = [line for line in lines[2:] if ROW.match(line)[1].strip("`* ") == name]
            if found:
                head = "\n".join(lines[:2])
                yield f"[{heading}]({path.relative_to(ROOT)}):\n\n{head}\n" + "\n".join(found)
