"""What is refused, by whom it comes from and by what it carries."""

import pytest
from starlette.testclient import TestClient

from refilm.web.app import create_app
from refilm.web.settings import Settings

TOKEN = "a-token-of-enough-length"
OWN = "http://127.0.0.1:8000"


def client(tmp_path, token=None, base=OWN, **settings):
    app = create_app(Settings(work=tmp_path / "work", **settings), token)
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]:8000", "192.168.1.7:8000"])
def test_addresses_and_localhost_are_known_hosts(tmp_path, host):
    assert client(tmp_path).get("/api/films", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "[::1"])
def test_names_that_the_server_was_not_told_are_refused(tmp_path, host):
    answer = client(tmp_path).get("/api/films", headers={"Host": host})
    assert answer.status_code == 400
    assert "--name" in answer.json()["message"]


def test_a_name_that_the_server_was_told_is_known(tmp_path):
    behind_proxy = client(tmp_path, TOKEN, name=("Films.example.org",))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for host, code in (("films.example.org", 200), ("films.example.org:443", 200), ("example.org", 400)):
        assert behind_proxy.get("/api/films", headers={"Host": host} | bearer).status_code == code


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9000"},  # another server on this computer
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": OWN},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/films"),
        ("POST", "/api/uploads?name=a.mp4"),
        ("POST", "/api/jobs"),
        ("POST", "/api/jobs/1/pause"),
        ("DELETE", "/api/jobs/1"),
        ("DELETE", "/api/films/1"),
    ],
)
def test_pages_of_other_origins_change_nothing(tmp_path, method, path, headers):
    answer = client(tmp_path).request(method, path, headers=headers, content=b"{}")
    assert answer.status_code == 403
    assert "another site" in answer.json()["message"]


def test_pages_of_other_origins_embed_nothing_but_may_link_to_the_page(tmp_path):
    foreign = {"Sec-Fetch-Site": "cross-site"}
    asking = client(tmp_path)
    assert asking.get("/api/films/1/media", headers=foreign | {"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert asking.get("/api/films", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 403
    assert asking.get("/", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_the_own_page_and_programs_may_ask(tmp_path):
    for headers in ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, {}):
        answer = client(tmp_path).post("/api/films", headers=headers, json={"path": "a.mp4"})
        assert "no folder is served" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/api/films", "/api/events", "/api/about", "/api/jobs/1/result"])
def test_without_the_token_nothing_is_told(tmp_path, path):
    asking = client(tmp_path, TOKEN)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "refilm-token=wrong"}, {"Authorization": TOKEN}):
        assert asking.get(path, headers=headers).status_code == 401
    assert asking.get(f"{path}?token={TOKEN}").status_code == 401  # it would stay in logs and histories


def test_the_printed_address_gives_the_browser_a_cookie_that_no_script_reads(tmp_path):
    asking = client(tmp_path, TOKEN)
    answer = asking.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert asking.get("/api/films").status_code == 200  # with that cookie


def test_the_page_asks_for_the_token(tmp_path):
    asking = client(tmp_path, TOKEN)
    page = asking.get("/")
    assert (page.status_code, 'name="token"' in page.text) == (401, True)
    assert asking.post("/token", data={"token": "wrong"}).status_code == 401
    assert asking.post("/token", data={"token": TOKEN}).status_code == 303
    assert asking.get("/api/films").status_code == 200


def test_answers_tell_browsers_to_run_no_foreign_script(tmp_path):
    for path in ("/", "/api/films", "/static/app.js", "/nowhere"):
        headers = client(tmp_path).get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2ferrors.py"])
def test_only_the_own_files_are_served(tmp_path, path):
    assert client(tmp_path).get(path).status_code == 404
