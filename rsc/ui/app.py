"""The Starlette app that serves pages, their data and their event streams. Every route only reads."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from journal.errors import JournalError
from journal.plot.page import columns_of, fragment, render
from rsc.db.errors import DatabaseError, UnknownRunError, first_line
from rsc.report.writing import named_groups, summary_values, title_of
from rsc.ui.curves import packed_episode, sparks_of
from rsc.ui.project import EVERY_S, Project

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from rsc.ui.following import LiveRun

_PACKAGES = ("rsc.ui", "rsc.report")
_GENERATOR = "rsc ui"
_SILENCE_S = 10.0  # a silent stream sends a comment after this long, so that the server notices a closed page
_STOP_S = 0.1
_NOT_VERIFIED = (
    "This page reads the rows of episodes that have ended, and the journals of the others. `rsc report` verifies every"
    " journal."
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page's own policy has the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(project: Project, host: str, stopping: Callable[[], bool]) -> ASGIApp:
    """Return the app.

    Args:
        project: The runs to show.
        host: The host that the user chose. Requests may name it.
        stopping: Returns True if the server should stop. Streams end then.
    """
    pages = _Pages(project, stopping)
    routes = [
        Route("/", pages.overview),
        Route("/events", pages.overview_events),
        Route("/runs/{names}", pages.runs),
        Route("/runs/{names}/events", pages.runs_events),
        Route("/runs/{run_id}/sparks", pages.sparks),
        Route("/runs/{run_id}/episodes/{journal_id}", pages.episode),
    ]
    errors: dict[Any, Any] = {
        404: _no_page,
        UnknownRunError: _not_found,
        JournalError: _not_found,
        DatabaseError: _failed,
        SQLAlchemyError: _failed,
    }
    return _Guard(Starlette(routes=routes, exception_handlers=errors), host)


class _Guard:
    """Refuse requests that name another host, to prevent DNS rebinding, and add headers to each response."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if not self._is_ours(_name_of(named)):
            words = f"this server does not answer for the host {named!r}; open it as http://127.0.0.1:PORT\n"
            refusal = PlainTextResponse(words, 421, _HEADERS)
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_ours(self, name: str) -> bool:
        """Return True if a request may name this host. Any address is allowed: DNS rebinding needs a name."""
        if name in ("localhost", self._host):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(header: str) -> str:
    """Return the name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


class _Pages:
    def __init__(self, project: Project, stopping: Callable[[], bool]) -> None:
        self._project = project
        self._stopping = stopping

    async def overview(self, request: Request) -> Response:
        """Respond with the page of all runs."""
        values = await self._project.overview()
        live = {"stream": "/events", "version": 0}
        page = render(
            "overview_page.html.j2", [], None, packages=_PACKAGES, data={"live": live}, title="Runs",
            generator=_GENERATOR, **values,
        )  # fmt: skip
        return HTMLResponse(page)

    async def runs(self, request: Request) -> Response:
        """Respond with the page of one run, or of several, whose names are separated by commas."""
        names = request.path_params["names"].split(",")
        runs = await self._project.runs(names)
        ids = [run.place.run_id for run in runs]
        if ids != names:
            return RedirectResponse(f"/runs/{','.join(ids)}")
        return HTMLResponse(await self._project.read(lambda: _page(runs)))

    async def overview_events(self, request: Request) -> Response:
        """Respond with the event stream of the page of all runs."""
        sent: dict[str, str] = {}

        async def news() -> dict[str, Any] | None:
            nonlocal sent
            values = await self._project.overview()
            found = {name: fragment(f"{name}.html.j2", _PACKAGES, **values) for name in ("overview", "passes")}
            if found == sent:
                return None
            sent = found
            return {"html": found}

        return self._stream(news)

    async def runs_events(self, request: Request) -> Response:
        """Respond with the event stream of a page of runs: the episodes that changed since a version."""
        names = request.path_params["names"].split(",")
        given = request.headers.get("last-event-id") or request.query_params.get("since", "")
        sent = int(given) if given.isdecimal() else 0
        await self._project.runs(names)  # respond to an unknown run with an error, not with a stream

        async def news() -> dict[str, Any] | None:
            nonlocal sent
            runs = await self._project.runs(names)
            version = _version(runs)
            if version == sent:
                return None
            # A greater version comes from an earlier server, so send everything.
            since, sent = (0 if sent > version else sent), version
            return await self._project.read(lambda: _changes(runs, since))

        return self._stream(news)

    async def sparks(self, request: Request) -> Response:
        """Respond with the small curves of some episodes."""
        run = await self._project.run(request.path_params["run_id"])
        journals = request.query_params.get("journals", "").split(",")
        return JSONResponse(await self._project.read(lambda: sparks_of(run.place, journals)))

    async def episode(self, request: Request) -> Response:
        """Respond with the curves and trades of one episode, packed for the scripts of the page."""
        run = await self._project.run(request.path_params["run_id"])
        journal_id = request.path_params["journal_id"]
        pack = await self._project.read(lambda: packed_episode(run.place, journal_id))
        return Response(pack, media_type="application/octet-stream")

    def _stream(self, news: Callable[[], Awaitable[dict[str, Any] | None]]) -> Response:
        return StreamingResponse(self._events(news), media_type="text/event-stream")

    async def _events(self, news: Callable[[], Awaitable[dict[str, Any] | None]]) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        spoken, problem = loop.time(), ""
        yield ": \n\n"  # shows the page at once that it is connected
        while not self._stopping():
            try:
                event = await news()
                if event is None and problem:
                    event = {}
                problem = ""
            except (DatabaseError, SQLAlchemyError, UnknownRunError) as error:
                event = {"problem": first_line(error)} if first_line(error) != problem else None
                problem = first_line(error)
            if event is not None:
                spoken = loop.time()
                yield _as_event(event)
            elif loop.time() - spoken > _SILENCE_S:
                spoken = loop.time()
                yield ": \n\n"
            due = loop.time() + EVERY_S
            while not self._stopping() and loop.time() < due:
                await asyncio.sleep(_STOP_S)


def _as_event(event: dict[str, Any]) -> str:
    number = f"id: {event['version']}\n" if "version" in event else ""
    time = datetime.now(UTC).strftime("%H:%M:%S UTC")
    return f"{number}data: {json.dumps({'time': time, **event}, allow_nan=False)}\n\n"


def _version(runs: Sequence[LiveRun]) -> int:
    return max(run.version for run in runs)


def _page(runs: Sequence[LiveRun]) -> str:
    reported = [run.reported() for run in runs]
    ids = [run.place.run_id for run in runs]
    live = {"stream": f"/runs/{','.join(ids)}/events", "version": _version(runs)}
    return render(
        "run_page.html.j2",
        [one for run in reported for one in run.episodes],
        None,
        packages=_PACKAGES,
        data={"runs": named_groups(reported), "live": live, "limits": [_NOT_VERIFIED]},
        title=title_of(ids),
        generator=_GENERATOR,
        **summary_values(reported),
    )


def _changes(runs: Sequence[LiveRun], since: int) -> dict[str, Any]:
    """Return the changes that bring a page from a version up to date."""
    values = summary_values([run.reported() for run in runs])
    return {
        "version": _version(runs),
        "columns": columns_of([one for run in runs for one in run.changed_since(since)]),
        "html": {name: fragment(f"{name}.html.j2", _PACKAGES, **values) for name in ("cards", "figures")},
    }


async def _no_page(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"there is no page {request.url.path}; / lists the runs\n", 404)


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 404)


async def _failed(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{first_line(error)}\n", 503)
