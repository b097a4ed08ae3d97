"""Pages of the site that are not in docs/: measured figures from results/, and the cards of models.

A hook of mkdocs, see mkdocs.yml. No figure is typed: all are from the files that commands have written.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from refilm.export.cards import model_card
from refilm.models.table import MODELS
from refilm.tasks import TASKS

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "results").rglob("*.md"))
SCHEMA = Path("src/refilm/cli/events.schema.json")
WITH_CARDS = {name: row.weights for name, row in MODELS.items() if row.weights}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of results with their pictures, the page and the cards of models, and the schema of events."""
    for path in sorted((ROOT / "results").rglob("*")):
        if path.suffix in (".md", ".png", ".csv"):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    files.append(File.generated(config, SCHEMA.name, abs_src_path=str(ROOT / SCHEMA)))
    files.append(File.generated(config, "models.md", content=models_page()))
    for name, weights in WITH_CARDS.items():
        _, _, text = model_card(weights).partition("\n---\n")  # without the header for the hub
        files.append(File.generated(config, card(name), content=text))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lead to the models, and to the results folder by folder."""
    groups: dict[str, list[str]] = {}
    for path in RESULTS:
        groups.setdefault(path.parent.name.capitalize(), []).append(str(path.relative_to(ROOT)))
    single = groups.pop("Results", [])
    assert config.nav is not None
    config.nav.insert(-1, {"Models": ["models.md", *map(card, WITH_CARDS)]})
    config.nav.insert(-1, {"Measured": [*single, *({name: pages} for name, pages in groups.items())]})
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to where their files are on the site."""
    if page.file.src_uri.startswith("results/"):
        return markdown
    return markdown.replace("](../results/", "](results/").replace(f"](../{SCHEMA})", f"]({SCHEMA.name})")


def models_page() -> str:
    """For each task its models whose weights ship, or that need none, with their cards and where they were measured."""
    text = ["# Models", "Models whose weights ship, or that need none."]
    for task in TASKS.values():
        names = [name for name, row in MODELS.items() if row.task == task.name and row.runs_as_shipped]
        if names:
            text.append(f"## {task.name}\n\n{task.summary.partition(chr(10))[0]} `refilm {task.verb}`")
            text.append("\n".join(f"- {entry(name)}" for name in names))
    return "\n\n".join(text) + "\n"


def entry(name: str) -> str:
    """The link to a model's card, and those to the results in whose tables it stands."""
    measured = [path for path in RESULTS if re.search(rf"^\| *{name} *\|", path.read_text(), re.MULTILINE)]
    links = [f"[{title(path)}]({path.relative_to(ROOT)})" for path in measured]
    model = f"[{name}]({card(name)})" if MODELS[name].weights else f"{name}, which has no weights"
    return ": ".join([model, *[", ".join(links)] * bool(links)])


def title(path: Path) -> str:
    return path.read_text().partition("\n")[0].lstrip("# ")


def card(name: str) -> str:
    """The page of a model's card."""
    return f"models/{name}.md"
