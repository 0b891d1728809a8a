"""The page and its answers over HTTP."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from linewash.coloring.model_loader import Network
from linewash.serving import service
from preprocess.cores import available_cores
from training.errors import LinewashError, UsageError

# The files of the page, by name: nothing else on the disk can be asked for.
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    # Neither scripts nor fonts nor pictures from anywhere else, and no other site may frame the page.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers may then call the page's own requests those of no origin.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILE_BYTES = 24 << 20  # of a picture that is dropped on the page
QUESTION_BYTES = 6 << 20  # of a page with its hints
MOST_WAITING = 64  # questions that wait for their turn; the next is turned away
LOCAL = ("127.0.0.1", "localhost", "[::1]")
ANY = "*"  # among the names of the page: every name is right

T = TypeVar("T")
Q = TypeVar("Q", bound=service.Question)


class Refused(Exception):  # noqa: N818  a refusal is no error of ours
    """A request that is not answered: the status, and one sentence on why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Queue:
    """Lets as many questions be worked on at once as there are cores; the others wait, but not too many."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._turns = CapacityLimiter(at_once)
        self._places = at_once + most_waiting

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for a question, which is taken before its body is read.

        Raises:
          Refused: all are taken.
        """
        if self._places < 1:
            raise Refused(503, "too many drawings are waiting: try again in a few seconds")
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def work(self, answer: Callable[..., T], *given: object) -> T:
        """Runs `answer` in a thread, when it is its turn."""
        return await to_thread.run_sync(answer, *given, limiter=self._turns)


class Guard:
    """Middleware that turns away who asks for the page by a name that is not its own, and other sites.

    By the first rule a page of another site that has its own name point here (DNS rebinding) gets nothing; by
    the second no page of another site has drawings worked on.

    Args:
      names: those of the page, in lower case, [] around IPv6 addresses; or `ANY`.
      forwarded: names under which something else passes requests on to here. It may change the name that
        they ask for, so a page of this name may always ask.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], forwarded: Collection[str] = ()) -> None:
        self._app = app
        self._names = {*names, *forwarded}
        self._forwarded = frozenset(forwarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request with a refusal, or passes it on."""
        if scope["type"] == "http":
            try:
                self._check(scope["method"], Headers(scope=scope))
            except Refused as refused:
                await _sentence(refused.status, str(refused))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, headers: Headers) -> None:
        address = headers.get("host", "").lower()
        name = host_name(address)
        if not name:
            raise Refused(400, "the request does not say by a name or an address whom it asks")
        if ANY not in self._names and name not in self._names:
            raise Refused(
                400,
                f"the page does not know itself as {name}; if that is how you reach it (by a forwarded port, "
                f"or a proxy), start it with --allowed-host {name}",
            )
        if method not in ("GET", "HEAD") and self._is_foreign(headers, address):
            raise Refused(
                403,
                "another site's page may not ask; if it is this page, behind a forwarded port or a proxy, "
                "start it with --allowed-host and the name in the browser's address bar",
            )

    def _is_foreign(self, headers: Headers, address: str) -> bool:
        """Whether the browser says that a page of another site asks; other programs say nothing."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        scheme, _, asking = origin.lower().partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        return asking.removesuffix(port) != address.removesuffix(port) and (
            host_name(asking) not in self._forwarded
        )


def host_name(address: str) -> str:
    """The name or IP address of NAME, NAME:PORT, [IPV6] or [IPV6]:PORT; empty if it is none of these."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", address, re.ASCII)
    return found[1] if found else ""


def make_app(
    network: Network,
    names: Collection[str] = LOCAL,
    forwarded: Collection[str] = (),
    most_waiting: int = MOST_WAITING,
) -> Starlette:
    """The application.

    Args:
      names, forwarded: names under which it may be asked for, as `Guard` has them.
      most_waiting: questions that wait for their turn at most.
    """
    queue = Queue(available_cores(), most_waiting)
    told = msgspec.json.encode(service.about(network))

    async def about(request: Request) -> Response:
        return _json(told)

    async def example(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in service.EXAMPLES:
            raise Refused(404, f"there is no example {name!r}: {', '.join(service.EXAMPLES)}")
        with queue.place():
            return _picture(await queue.work(service.example, name))

    async def lines(request: Request) -> Response:
        source = request.query_params.get("source", "drawing")
        if source not in ("drawing", "photo"):
            raise Refused(400, f"source must be drawing or photo, got {source!r}")
        with queue.place():
            return _picture(await queue.work(service.ink, await _body(request, FILE_BYTES), source))

    async def color(request: Request) -> Response:
        with queue.place():
            question = _question(await _body(request, QUESTION_BYTES), service.Question)
            pictures = await queue.work(service.colorings, question, network)
        encoded = [base64.b64encode(picture).decode() for picture in pictures]
        return _json(msgspec.json.encode({"pictures": encoded}))

    async def download(request: Request) -> Response:
        with queue.place():
            question = _question(await _body(request, QUESTION_BYTES), service.Download)
            data = await queue.work(service.file, question, network)
        kind = "image/png" if question.format == "png" else "image/openraster"
        name = f'attachment; filename="drawing.{question.format}"'
        return Response(data, media_type=kind, headers=HEADERS | {"Content-Disposition": name})

    return Starlette(
        routes=[
            *[Route(path, _static(*what)) for path, what in PAGE.items()],
            Route("/about", about),
            Route("/examples/{name}", example),
            Route("/lines", lines, methods=["POST"]),
            Route("/color", color, methods=["POST"]),
            Route("/download", download, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, names, forwarded)],
        exception_handlers={
            Refused: _refusal,
            LinewashError: _refusal,
            ClientDisconnect: lambda *_: _sentence(400, "the request ended before it was whole"),
            404: lambda request, _: _sentence(404, f"there is nothing at {request.url.path}"),
            405: lambda request, _: _sentence(
                405, f"{request.url.path} is not asked for with {request.method}"
            ),
            500: lambda *_: _sentence(500, "something went wrong here: what it was stands in the terminal"),
        },
    )


def _static(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    data = (Path(__file__).parent / "static" / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(data, media_type=kind, headers=HEADERS)

    return answer


async def _body(request: Request, most: int) -> bytes:
    """What was sent, refused as soon as it is, or says that it is, too long."""
    told = request.headers.get("content-length", "0")
    data = bytearray()
    if not told.isdigit() or int(told) <= most:
        async for chunk in request.stream():
            data += chunk
            if len(data) > most:
                break
        else:
            return bytes(data)
    raise Refused(413, f"it is larger than {most >> 20} MB: make it smaller")


def _question(data: bytes, kind: type[Q]) -> Q:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise Refused(400, f"this is not what the page asks ({e}): load the page again") from None


def _refusal(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return _sentence(error.status, str(error))
    return _sentence(400 if isinstance(error, UsageError) else 422, str(error))


def _sentence(status: int, sentence: str) -> Response:
    return _json(msgspec.json.encode({"error": sentence}), status)


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json", headers=HEADERS)


def _picture(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers=HEADERS)
