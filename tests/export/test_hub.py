"""Weight files go to a hub and come back, also without a network; the hub is a server of the test."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import refilm
from refilm.errors import UsageError, WeightsError
from refilm.export import hub
from refilm.export.cards import model_card
from refilm.models.table import MODELS
from refilm.weights import SHIPPED

FILE = MODELS["vi-ls3d-flow"].weights


class Hub(BaseHTTPRequestHandler):
    """The few addresses of a hub that are asked for: repositories are dictionaries of files."""

    repositories: dict[str, dict[str, bytes]]

    def do_GET(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            name = "/".join(path.split("/")[2:4])
            if name not in self.repositories:
                return self._answer(404, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
            files = self.repositories[name]
            if "/tree/" in path:
                return self._answer(200, [self._entry(key, data) for key, data in files.items()])
            siblings = [{"rfilename": key} for key in files]
            return self._answer(200, {"id": name, "sha": "1" * 40, "siblings": siblings, "tags": [], "private": False})
        if "/resolve/" not in path:
            return self._answer(404, {})
        owner, repository, _, _, file = path.split("/", 4)
        data = self.repositories[f"{owner}/{repository}"][file]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": "1" * 40}
        return self._answer(200, data, headers)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        body = self._body()
        if path == "api/repos/create":
            told = json.loads(body)
            name = f"{told.get('organization', 'me')}/{told['name']}"
            self.repositories.setdefault(name, {})
            return self._answer(200, {"url": f"http://{self.headers['Host']}/{name}"})
        if path == "api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        name = "/".join(path.split("/")[2:4])
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            wanted = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._answer(200, {"files": wanted})
        for line in body.splitlines():
            told = json.loads(line)
            if told["key"] == "file":
                self.repositories[name][told["value"]["path"]] = base64.b64decode(told["value"]["content"])
        address = f"http://{self.headers['Host']}/{name}/commit/{'1' * 40}"
        return self._answer(200, {"commitUrl": address, "commitOid": "1" * 40, "hookOutput": ""})

    def _body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _entry(self, name, data):
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _answer(self, code, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub on this machine, and an empty cache. -> the repositories, by name"""
    handler = type("OwnHub", (Hub,), {"repositories": {}})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield handler.repositories
    running.shutdown()
    running.server_close()


def test_there_and_back_and_again_without_the_hub(server, monkeypatch):
    address = refilm.push_to_hub(FILE, "me/flow", token="hf_x", data="Films of trains.", limits="No trees.")
    assert address.endswith("/me/flow/commit/" + "1" * 40)
    assert server["me/flow"][FILE] == (SHIPPED / FILE).read_bytes()
    card = server["me/flow"]["README.md"].decode()
    assert "Films of trains." in card
    assert "No trees." in card
    assert "interpolation-x2" in card
    fetched = refilm.from_pretrained("me/flow")
    own = refilm.create_model("vi-ls3d-flow")
    assert fetched.name == "vi-ls3d-flow"
    for a, b in zip(fetched.parameters(), own.parameters(), strict=True):
        assert torch.equal(a, b)
    server.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refilm.from_pretrained("me/flow").name == "vi-ls3d-flow"


def test_what_is_not_there(server, monkeypatch):
    with pytest.raises(WeightsError, match="no such repository"):
        hub.fetch("me/nothing")
    with pytest.raises(UsageError, match="such as user/name"):
        hub.fetch("me/no/thing")
    server["me/pickled"] = {"model.pth": b"x"}
    with pytest.raises(WeightsError, match="there are: none"):
        hub.fetch("me/pickled")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="cannot be fetched without a network"):
        hub.fetch("me/other")


def test_damage_on_the_way_is_found(server):
    server["me/flow"] = {FILE: (SHIPPED / FILE).read_bytes()[:-1] + b"x"}
    with pytest.raises(WeightsError, match="damaged or altered"):
        refilm.from_pretrained("me/flow")


def test_a_folder_serves_as_well(tmp_path):
    with pytest.raises(WeightsError, match="wanted one weight file"):
        refilm.from_pretrained(tmp_path)
    (tmp_path / FILE).write_bytes((SHIPPED / FILE).read_bytes())
    assert refilm.from_pretrained(tmp_path).name == "vi-ls3d-flow"
    (tmp_path / "other.safetensors").write_bytes((SHIPPED / FILE).read_bytes())
    with pytest.raises(WeightsError, match="name one as `file`"):
        refilm.from_pretrained(tmp_path)
    assert refilm.from_pretrained(tmp_path, file=FILE).name == "vi-ls3d-flow"


def test_every_card_has_its_figures_and_is_one_for_the_hub():
    for name, row in MODELS.items():
        if row.weights:
            card = model_card(row.weights, f"me/{name}")
            data = huggingface_hub.ModelCard(card).data
            assert data.license == "apache-2.0"
            assert data.library_name == "refilm"
            assert f'from_pretrained("me/{name}")' in card


def test_a_card_names_the_worst_clip():
    limits = model_card(MODELS["vdn-ls3d-small"].weights).partition("## Limits")[2]
    assert "`denoising-sigma25` on val: worst on 0266.mp4" in limits
