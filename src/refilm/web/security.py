"""What is refused before a request is looked at: unknown hosts, foreign pages, and who has not got the token.

Host    A foreign name may be made to point to this computer (DNS rebinding), and its pages would then count as ours to
        the browser. So a request has to name an address, localhost, or a name that the server was told.
Origin  A page of another site may send requests, though it cannot read the answers. Browsers say where a request comes
        from (Sec-Fetch-Site, Origin); programs that are no browsers say nothing, and carry no cookies of others either.
Token   Compared in a time that says nothing of it. A browser keeps it as a cookie that no script can read.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).with_name("static")  # the page's own files
_COOKIE = "refilm-token"
_YEAR = 365 * 24 * 3600
_FORM_BYTES = 4096
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware that refuses what the text above says, and adds headers by which browsers refuse more.

    names   by which the server is known, besides addresses and localhost
    token   that each request has to carry, as a cookie or as `Authorization: Bearer`; None: none is asked for
    """

    def __init__(self, app: ASGIApp, names: Collection[str], token: str | None) -> None:
        self._app, self._token = app, token
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        request = Request(scope, receive)
        answer = self._refusal(request) or await self._asks_for_token(request)
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            told = "; ".join(hosts)[:100] or "no name"
            return _refused(
                400, f"this server does not go by {told}; if it should, start it with --name and the name without port"
            )
        if _is_foreign(request.method, request.headers, opens_page=request.url.path == "/"):
            return _refused(403, "this request comes from a page of another site, which may not use this server")
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name)

    async def _asks_for_token(self, request: Request) -> Response | None:
        """The page that asks for the token, or the answer to it; None if the request carries the token."""
        path = request.url.path
        if self._token is None or self._is_token(_carried(request.headers, request.cookies)):
            return None
        if request.method == "GET" and path.startswith("/static/"):  # they are the same for everybody
            return None
        if request.method == "GET" and path == "/":
            given = request.query_params.get("token")
            if given is None:
                return FileResponse(STATIC / "token.html", status_code=401)
            return self._answer(request, given)
        if request.method == "POST" and path == "/token":
            body = b""
            async for chunk in request.stream():
                body += chunk
                if len(body) > _FORM_BYTES:
                    break
            return self._answer(request, parse_qs(body[:_FORM_BYTES].decode(errors="replace")).get("token", [""])[0])
        return _refused(401, "this server wants its token; open the address that it printed when it was started")

    def _answer(self, request: Request, given: str) -> Response:
        if not self._is_token(given.strip()):
            return FileResponse(STATIC / "token.html", status_code=401)
        answer = RedirectResponse("/", status_code=303)
        secure = request.url.scheme == "https"
        answer.set_cookie(_COOKIE, given.strip(), max_age=_YEAR, httponly=True, samesite="lax", secure=secure)
        return answer

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(errors="replace"), (self._token or "").encode(errors="replace"))


def _carried(headers: Headers, cookies: dict[str, str]) -> str:
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if kind.lower() == "bearer" else cookies.get(_COOKIE, "")


def _is_foreign(method: str, headers: Headers, opens_page: bool) -> bool:
    """Whether a page of another origin has caused the request. It may open our page by a link, and nothing else."""
    changes = method not in ("GET", "HEAD")
    opens = opens_page and not changes and headers.get("sec-fetch-mode", "navigate") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return not opens
    origin = headers.get("origin")
    return changes and origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(code: int, message: str) -> Response:
    return JSONResponse({"message": message}, status_code=code)
