"""The pages of the site that are made from results/: nothing is left out."""

import importlib.util
from pathlib import Path

import pytest

from refilm.models.table import MODELS

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")

from mkdocs.config import load_config
from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "tools" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_model_whose_weights_ship_has_a_card_with_its_figures(site):
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir="unused")
    config.plugins._current_plugin = "a test"  # as while mkdocs runs a hook
    pages = {file.src_uri: file for file in site.on_files(Files([]), config)}
    for name, row in MODELS.items():
        if row.weights:
            assert f"# {name}" in pages[f"models/{name}.md"].content_string
            assert f"](models/{name}.md)" in pages["models.md"].content_string
    assert not pages["models/vdn-ls3d-small.md"].content_string.startswith("---")
    assert {"results/val/denoising.md", "results/geodesic/digits.png", "events.schema.json"} <= set(pages)


def test_a_model_leads_to_where_it_was_measured(site):
    assert "](results/val/interpolation.md)" in site.entry("flow-blend")
    assert "](results/val/denoising.md)" in site.entry("vdn-ls3d-small")


def test_every_page_of_docs_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.name not in config] == []
