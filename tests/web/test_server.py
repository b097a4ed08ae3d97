"""The command as users start it: jobs from their beginning to their end, also over a kill of the server."""

import csv
import io
import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from media import CLIPS, even, write
from web.serving import Serving

import refilm
from refilm.cli.main import run


def test_a_job_goes_on_after_the_server_was_killed(tmp_path, folder):
    write(folder / "long.mp4", replace(CLIPS["cfr-24"], times=even(150, 24)))
    work = tmp_path / "work"
    with Serving(work, "--folder", str(folder)) as server:
        film = server.ask("films", "POST", {"path": str(folder / "long.mp4")})
        job = server.ask("jobs", "POST", {"film": film["id"], "verb": "interpolate", "options": {"crf": 30}})["id"]
        waiting = server.ask("jobs", "POST", {"film": film["id"], "verb": "recognize", "options": {}})["id"]
        while not list((work / "results" / job).glob("*/*.piece")):
            assert server.wait_for(lambda job: True, job)["state"] == "running"
        server.kill()
    with Serving(work) as server:
        done = server.wait_for(lambda job: job["state"] in ("done", "failed"), job)
        assert (done["state"], done["report"]["frames_in"], done["report"]["frames_out"]) == ("done", 150, 299)
        with urlopen(f"{server.address}api/jobs/{job}/result") as answer:
            assert answer.headers["content-disposition"] == 'attachment; filename="long-interpolate.mkv"'
            (tmp_path / "downloaded.mkv").write_bytes(answer.read())
        assert server.wait_for(lambda job: job["state"] == "done", waiting)["result"]["name"] == "long-recognize.csv"
        events = server.ask(f"jobs/{waiting}/timeline")
        with urlopen(f"{server.address}api/jobs/{waiting}/result") as answer:
            rows = list(csv.DictReader(io.TextIOWrapper(answer)))
        assert [label["label"] for event in events for label in event["labels"]] == [row["label"] for row in rows]
    assert sum(1 for _ in refilm.open(tmp_path / "downloaded.mkv")) == 299


def test_a_failed_job_says_why_and_a_film_with_jobs_is_not_removed(tmp_path, folder):
    with Serving(tmp_path / "work", "--folder", str(folder)) as server:
        film = server.ask("films", "POST", {"path": str(folder / "film.mp4")})["id"]
        job = server.ask("jobs", "POST", {"film": film, "verb": "denoise", "options": {"codec": "libnone"}})["id"]
        failed = server.wait_for(lambda job: job["state"] == "failed", job)
        assert "libnone" in failed["message"]
        assert "remove them first" in server.ask(f"films/{film}", "DELETE")["message"]
        assert server.ask(f"jobs/{job}/result")["message"].startswith("there is no such")
        server.ask(f"jobs/{job}", "DELETE")
        assert server.jobs() == []
        assert server.ask(f"films/{film}", "DELETE") == {}
        assert not any((tmp_path / "work" / "results").iterdir())


def test_two_servers_do_not_share_a_work_folder_or_a_port(tmp_path):
    with Serving(tmp_path / "work") as server:
        for arguments, message in (
            (("--work", str(tmp_path / "work"), "--port", "0"), "another refilm web uses this folder"),
            (("--work", str(tmp_path / "other"), "--port", server.address.rstrip("/").rpartition(":")[2]), "--port"),
        ):
            command = [sys.executable, "-m", "refilm.cli.main", "web", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
            assert message in done.stderr


def test_without_the_extra_one_line_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['uvicorn'] = None; from refilm.cli.main import run; sys.exit(run(['web']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "refilm: uvicorn is needed for the page: pip install 'refilm[web]'\n")


def test_ctrl_c_ends_the_server_and_says_that_jobs_go_on(tmp_path):
    server = Serving(tmp_path / "work")
    with urlopen(f"{server.address}api/events") as events:  # of a browser that has the page open
        events.readline()
        server.process.terminate()
        (said,) = server.process.communicate(timeout=30)[1].splitlines()
    assert "unfinished jobs go on" in said
    assert server.process.returncode == 130


def test_an_upload_that_is_cut_off_leaves_nothing(tmp_path):
    server = Serving(tmp_path / "work")
    uploads = tmp_path / "work" / "uploads"
    with socket.create_connection(("127.0.0.1", urlsplit(server.address).port)) as connection:
        connection.sendall(
            b"POST /api/uploads?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\nbegin"
        )
        wait_until(lambda: list(uploads.glob("*/film.mp4")))
    wait_until(lambda: not list(uploads.iterdir()))
    server.process.terminate()
    assert len(server.process.communicate(timeout=30)[1].splitlines()) == 1  # that it was stopped


def wait_until(so):
    until = time.monotonic() + 30
    while not so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_on_other_than_loopback_a_token_is_made_and_printed(tmp_path):
    with Serving(tmp_path / "work", "--host", "0.0.0.0") as server:
        page, _, token = server.address.partition("?token=")
        assert len(token) >= 32
        host, port = page.removeprefix("http://").rstrip("/").split(":")
        assert host == socket.gethostname()
        asked = Request(f"http://127.0.0.1:{port}/api/films", headers={"Host": f"{host}:{port}"})
        with pytest.raises(HTTPError, match="401"):
            urlopen(asked)
        asked.add_header("Authorization", f"Bearer {token}")
        assert json.load(urlopen(asked)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", "nowhere"], "--folder wants a folder of films, and nowhere is none"),
        (["--port", "70000"], "--port is a number from 0 to 65535, got 70000"),
        (["--token", "secret"], "--token wants at least 16 characters, got 6"),
        (["--max-upload", "0"], "--max-upload is a number of GB above 0"),
        (["--jobs", "0"], "--jobs must be at least 1"),
    ],
)
def test_wrong_options_are_told_in_one_line(arguments, message, capsys):
    assert run(["web", *arguments]) == 2
    assert message in capsys.readouterr().err
