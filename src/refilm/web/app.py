"""The page's server: what browsers ask for, and what they are told. The page itself is in `static/`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import refilm
from refilm.errors import RefilmError, UsageError
from refilm.web import findings
from refilm.web.films import ENDINGS, Film, Films
from refilm.web.queue import Job, Queue, State
from refilm.web.runner import Runner
from refilm.web.security import STATIC, Guard
from refilm.web.settings import Settings
from refilm.web.store import open_store
from refilm.web.wishes import PREVIEW_SECONDS, forms, wanted_job

_BODY_BYTES = 100_000
_MOST_SECONDS = 60.0  # of boxes in one answer
_KEEP_ALIVE_SECONDS = 15.0
_WAITING_MESSAGES = 1000

Found = TypeVar("Found")


class Site:
    """What the routes share: films, queue and runner, and the browsers that listen."""

    def __init__(self, settings: Settings) -> None:
        work = settings.work.resolve()
        uploads, self.results = work / "uploads", work / "results"
        for folder in (work, uploads, self.results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = open_store(work / "queue.sqlite")
        self.films = Films(store, settings.folder, uploads, int(settings.max_upload * 1e9))
        self.queue = Queue(store)
        self.runner = Runner(self.queue, self.tell, settings.jobs)
        self._listeners: set[asyncio.Queue[str]] = set()

    @contextlib.asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """The time in which the server runs."""
        self.films.clear_unfinished()
        self.queue.recover()
        self.runner.look()
        try:
            yield
        finally:
            await self.runner.stop()

    def tell(self, job: Job) -> None:
        """Send a job to all browsers that listen."""
        self._send(f"event: job\ndata: {json.dumps(job_told(job))}\n\n")

    def tell_removed(self, job: Job) -> None:
        self._send(f"event: removed\ndata: {json.dumps(job.id)}\n\n")

    def _send(self, message: str) -> None:
        for listener in list(self._listeners):
            try:
                listener.put_nowait(message)
            except asyncio.QueueFull:  # the browser sleeps; its stream ends, and when it connects again it is told all
                self._listeners.discard(listener)

    def end_streams(self) -> None:
        """End what is sent to browsers that listen. They connect again when the server is there again."""
        self._send(": the server stops\n\n")
        self._listeners.clear()

    async def messages(self) -> AsyncIterator[str]:
        """All jobs, and then each that changes, as server-sent events."""
        listener: asyncio.Queue[str] = asyncio.Queue(_WAITING_MESSAGES)
        self._listeners.add(listener)
        try:
            yield f"retry: 2000\nevent: jobs\ndata: {json.dumps([job_told(job) for job in self.queue.all()])}\n\n"
            while listener in self._listeners:
                try:
                    yield await asyncio.wait_for(listener.get(), _KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": nothing new\n\n"
        finally:
            self._listeners.discard(listener)


def create_app(settings: Settings, token: str | None) -> Starlette:
    """The server of the page. `token`: that requests have to carry; None: none."""
    site = Site(settings)
    routes = [
        Route("/", _page),
        Mount("/static", StaticFiles(directory=STATIC)),
        Mount("/api", routes=_routes(site)),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=settings.names, token=token)],
        exception_handlers=dict.fromkeys((RefilmError, HTTPException, ClientDisconnect), _told_error),
        lifespan=site.running,
    )
    app.state.site = site
    return app


def _routes(site: Site) -> list[Route]:
    def film_of(request: Request) -> Film:
        return _there(site.films.find(request.path_params["film"]))

    def job_of(request: Request) -> Job:
        return _there(site.queue.find(request.path_params["job"]))

    def result_of(request: Request) -> Path:
        return _there(job_of(request).result)

    async def about(_: Request) -> Response:
        listed = await asyncio.to_thread(site.films.listed)
        return JSONResponse(
            {
                "version": refilm.__version__,
                "forms": forms(),
                "folders": [str(folder) for folder in site.films.folders],
                "listed": listed,
                "endings": ENDINGS,
                "max_upload": site.films.most,
                "preview_seconds": PREVIEW_SECONDS,
            }
        )

    async def films(_: Request) -> Response:
        return JSONResponse([film_told(film) for film in site.films.all()])

    async def add_film(request: Request) -> Response:
        path = (await _body(request)).get("path")
        if not isinstance(path, str) or not path.strip():
            raise UsageError("wanted the path of a film, got none")
        return JSONResponse(film_told(await site.films.add_named(path.strip())))

    async def upload(request: Request) -> Response:
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isdecimal() else None
        name = request.query_params.get("name", "")
        return JSONResponse(film_told(await site.films.add_upload(name, size, request.stream())))

    async def remove_film(request: Request) -> Response:
        film = film_of(request)
        if site.queue.of_film(film.id):
            raise UsageError(f"{film.name}: is used by jobs; remove them first")
        site.films.remove(film)
        return JSONResponse({})

    async def look_at(request: Request) -> Response:
        return JSONResponse(film_told(await site.films.look_at(film_of(request))))

    async def film_media(request: Request) -> Response:
        return _media(film_of(request).path)

    async def add_job(request: Request) -> Response:
        wishes = await _body(request)
        job = wanted_job(_there(site.films.find(str(wishes.get("film")))), site.results, wishes)
        (site.results / job.id).mkdir()
        site.tell(site.queue.add(job))
        site.runner.look()
        return JSONResponse(job_told(_there(site.queue.find(job.id))))

    async def pause(request: Request) -> Response:
        return _turned(job_of(request), (State.WAITING, State.RUNNING), site.runner.pause)

    async def resume(request: Request) -> Response:
        return _turned(job_of(request), (State.PAUSED, State.FAILED), site.runner.resume)

    async def remove_job(request: Request) -> Response:
        job = job_of(request)
        await site.runner.remove(job)
        await asyncio.to_thread(shutil.rmtree, site.results / job.id, ignore_errors=True)
        site.tell_removed(job)
        return JSONResponse({})

    async def download(request: Request) -> Response:
        result = result_of(request)
        return FileResponse(result, media_type="application/octet-stream", filename=result.name)

    async def job_media(request: Request) -> Response:
        return _media(result_of(request))

    async def before(request: Request) -> Response:
        job = job_of(request)
        made = Path(job.steps[0].output) if job.is_preview else None
        return _media(_there(made if made is not None and made.is_file() else None))

    async def timeline(request: Request) -> Response:
        job, result = job_of(request), result_of(request)
        _there(job.verb == "recognize" or None)
        return JSONResponse(await asyncio.to_thread(findings.timeline, result))

    async def boxes(request: Request) -> Response:
        job, result = job_of(request), result_of(request)
        _there(job.verb == "detect" or None)
        try:
            begin, end = (float(request.query_params[name]) for name in ("from", "to"))
        except (KeyError, ValueError):
            raise UsageError("wanted ?from=SECONDS&to=SECONDS") from None
        end = min(end, begin + _MOST_SECONDS)
        return JSONResponse(await asyncio.to_thread(findings.boxes, result, begin, end))

    async def events(_: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second: for nginx
        return StreamingResponse(site.messages(), media_type="text/event-stream", headers=headers)

    return [
        Route("/about", about),
        Route("/events", events),
        Route("/films", films),
        Route("/films", add_film, methods=["POST"]),
        Route("/uploads", upload, methods=["POST"]),
        Route("/films/{film}", remove_film, methods=["DELETE"]),
        Route("/films/{film}/findings", look_at, methods=["POST"]),
        Route("/films/{film}/media", film_media),
        Route("/jobs", add_job, methods=["POST"]),
        Route("/jobs/{job}", remove_job, methods=["DELETE"]),
        Route("/jobs/{job}/pause", pause, methods=["POST"]),
        Route("/jobs/{job}/resume", resume, methods=["POST"]),
        Route("/jobs/{job}/result", download),
        Route("/jobs/{job}/media", job_media),
        Route("/jobs/{job}/before", before),
        Route("/jobs/{job}/timeline", timeline),
        Route("/jobs/{job}/boxes", boxes),
    ]


async def _page(_: Request) -> Response:
    return FileResponse(STATIC / "index.html")


def _there(found: Found | None) -> Found:
    if found is None:
        raise HTTPException(404, "there is no such film, job or file (any more)")
    return found


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise HTTPException(413, f"wanted at most {_BODY_BYTES} bytes of JSON")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError("wanted a JSON object")
    return found


def _turned(job: Job, states: tuple[State, ...], turn: Callable[[Job], None]) -> Response:
    """Pause or resume a job, if it is in one of the `states`; else it has been done already."""
    if job.state in states:
        turn(job)
    return JSONResponse({})


def _media(path: Path) -> Response:
    """A film for the player. Other kinds of files are never shown by the browser."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith("video/"):
        kind = "application/octet-stream"
    if not path.is_file():
        raise HTTPException(404, f"{path.name}: is not there any more")
    return FileResponse(path, media_type=kind)


async def _told_error(_: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 400
    return JSONResponse({"message": error.detail if isinstance(error, HTTPException) else str(error)}, code)


def film_told(film: Film) -> dict[str, Any]:
    """A film, as browsers are told. Its place on the disk is told of films that were named by it alone."""
    told = {"id": film.id, "name": film.name, "duration": film.duration, "findings": film.findings}
    return told | {"facts": {name: fact for name, fact in film.facts.items() if name != "path"}}


def job_told(job: Job) -> dict[str, Any]:
    """A job, as browsers are told."""
    told = asdict(job)
    del told["steps"]
    result = job.result
    size = None if result is None else result.stat().st_size
    return told | {"result": None if result is None else {"name": result.name, "bytes": size}}
