"""The page in a real browser: from upload to download, by the keyboard alone, and on a phone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from web.serving import Serving

import refilm
from refilm.web.queue import Job, Queue, State
from refilm.web.store import open_store

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_QUIET += ["--disable-component-update", "--disable-sync"]
_PATIENCE = 60_000  # milliseconds; a model has to be loaded, beside whatever else the machine does
_PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, tmp_path, folder):
    """Opens the page of a server that is started for it; an error of a script fails the test."""
    errors, opened = [], []

    def open_(**context):
        server = Serving(tmp_path / "work", "--folder", str(folder))
        page = chromium.new_context(**context).new_page()
        opened.append((server, page))
        page.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(server.address)
        expect(page.locator("#verbs input").first).to_be_attached()
        return page

    yield open_
    for server, page in opened:
        page.context.close()
        server.__exit__()
    assert errors == []


def until(page, expression):
    """Wait until an expression of JavaScript is true. Playwright's own way is forbidden by the page, as any eval."""
    for _ in range(_PATIENCE // 50):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it is not so: {expression}")


def test_from_upload_to_download(open_page, media, tmp_path):
    page = open_page()
    page.set_input_files(
        "#file", {"name": "my film.mp4", "mimeType": "video/mp4", "buffer": media("cfr-24").path.read_bytes()}
    )
    expect(page.get_by_role("heading", name="my film.mp4")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("96 × 64, 24 a second")
    until(page, "document.getElementById('video').videoWidth === 96")

    page.get_by_role("radio", name="Interpolate").check()
    page.get_by_role("button", name="Preview 5 seconds").click()
    slider = page.get_by_role("slider")  # there when both parts are made
    until(page, "document.getElementById('before').videoWidth * document.getElementById('after').videoWidth > 0")
    split = "parseFloat(document.getElementById('pair').style.getPropertyValue('--split'))"
    slider.press("ArrowRight")
    assert page.evaluate(split) == 51
    slider.press("End")
    assert page.evaluate(split) == 100
    assert page.evaluate("getComputedStyle(document.getElementById('before')).clipPath") != "none"

    page.locator("#option-times").fill("0")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#task-error")).to_have_text("times must be at least 1, got 0")
    page.locator("#option-times").fill("3")
    page.get_by_role("button", name="Start").click()
    job = page.locator("#jobs > li").first
    job.get_by_role("button", name="Pause").click()
    expect(job.locator(".state")).to_have_text("paused")
    job.get_by_role("button", name="Resume").click()
    expect(job.locator(".state")).to_have_text("done")
    expect(job).to_contain_text("24 frames in, 70 out")
    with page.expect_download() as download:
        job.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "my film-interpolate.mp4"
    download.value.save_as(tmp_path / "result.mp4")
    assert sum(1 for _ in refilm.open(tmp_path / "result.mp4")) == 70
    job.get_by_role("button", name="Remove").click()
    expect(page.locator("#jobs > li")).to_have_count(1)  # the preview's


def go_to(page, name):
    """Press Tab until what has this name has the focus, which has to be seen at every step."""
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => {
                const at = document.activeElement, label = at.labels?.[0];
                const outlined = (e) => e && getComputedStyle(e).outlineStyle !== 'none';
                const seen = outlined(at) || outlined(label) || ['BODY', 'VIDEO'].includes(at.tagName);
                return [at.ariaLabel || label?.innerText || at.innerText || '', seen];
            }"""
        )
        assert at[1], f"the focus is not to be seen: {at[0]}"
        if at[0].startswith(name):
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_by_the_keyboard_alone(open_page, folder):
    page = open_page()
    go_to(page, "Or name a film")
    page.keyboard.type(str(folder / "none.mp4"))
    page.keyboard.press("Enter")
    expect(page.locator("#film-error")).to_contain_text("no such film")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(str(folder / "film.mp4"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="film.mp4")).to_be_visible()
    go_to(page, "Enhance")
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Recognize")).to_be_checked()
    go_to(page, "Every")
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Show timeline")).to_be_visible()
    go_to(page, "Show timeline")
    page.keyboard.press("Enter")
    events = page.locator("#events").get_by_role("option")
    expect(events).to_have_count(2)
    events.first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#event")).to_contain_text("0:00 to 0:01")
    expect(events.last).to_have_attribute("aria-selected", "true")
    until(page, "document.getElementById('video').currentTime === 0.5")


def found_before(work: Path, film: str) -> None:
    """Put a job of detection that is done, and one that failed, into the queue of a server that does not run."""
    queue = Queue(open_store(work / "queue.sqlite"))
    boxes = work / "results" / "d" / "film-detect.jsonl"
    boxes.parent.mkdir(parents=True)
    box = {"box": [24.0, 32.0, 72.0, 64.0], "label": "person", "score": 0.87, "track": 3}
    boxes.write_text("".join(json.dumps({"frame": n, "time": n / 24, "boxes": [box]}) + "\n" for n in range(24)))
    report = {"output": str(boxes), "frames_in": 24, "frames_out": 0, "seconds": 2.0}
    queue.add(Job("d", film, "detect", "detect", False, (), State.DONE, report=report))
    long = "a message of one very long word: " + "x" * 200
    queue.add(Job("f", film, "upscale", "upscale, scale 4", False, (), State.FAILED, message=long))


def test_on_a_phone_boxes_are_shown_and_nothing_is_cut_off(open_page, tmp_path, folder):
    with Serving(tmp_path / "work", "--folder", str(folder)) as server:
        film = server.ask("films", "POST", {"path": str(folder / "film.mp4")})["id"]
    found_before(tmp_path / "work", film)
    page = open_page(viewport=_PHONE, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="film.mp4 96").tap()
    page.get_by_role("button", name="Show boxes").tap()
    expect(page.locator("#boxes .box")).to_contain_text("person 3")
    until(page, "document.getElementById('video').videoWidth === 96")
    left, top, width, height = page.evaluate(
        """() => {
            const box = document.querySelector('#boxes .box').getBoundingClientRect();
            const film = document.getElementById('video').getBoundingClientRect();
            const sides = [box.x - film.x, box.y - film.y, box.width, box.height];
            return sides.map((side, n) => side / (n % 2 ? film.height : film.width));
        }"""
    )
    assert (left, top, width, height) == pytest.approx((0.25, 0.5, 0.5, 0.5), abs=0.01)
    for verb in ("Enhance", "Upscale", "Recognize"):
        page.get_by_role("radio", name=verb).check()
        for group in page.locator("details > summary").all():
            group.tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]
    unnamed = """() => [...document.querySelectorAll('button, a, input, select')].filter((e) => e.checkVisibility()
        && !(e.ariaLabel || e.innerText || e.labels?.[0]?.innerText)).map((e) => e.outerHTML)"""
    assert page.evaluate(unnamed) == []
    small = """() => [...document.querySelectorAll('button, .button, select')].filter((e) => e.checkVisibility()
        && e.getBoundingClientRect().height < 36).map((e) => e.outerHTML)"""
    assert page.evaluate(small) == []
