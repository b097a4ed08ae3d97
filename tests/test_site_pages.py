"""The pages of the site that are made from results/: figures are copied, and nothing is left out."""

import importlib.util
import re
from pathlib import Path

import pytest

from refilm.models.table import MODELS

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def models_page():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "tools" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.models_page()


def test_every_model_whose_weights_ship_has_a_section_with_figures(models_page):
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", models_page, re.MULTILINE | re.DOTALL))
    for name, row in MODELS.items():
        if row.weights:
            assert name in sections
    measured = {name for name, text in sections.items() if "| --- |" in text}
    assert measured >= {"flow-blend", "vdn-ls3d-small", "vsr-ls3d-small", "tsn-off-camera", "rfcn-mobilenet"}


def test_every_row_of_figures_stands_in_a_table_of_results(models_page):
    written = {line for path in (ROOT / "results").rglob("*.md") for line in path.read_text().splitlines()}
    rows = [line for line in models_page.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert set(rows) <= written


def test_every_page_of_docs_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page.name not in config] == []
