"""The page and its answers over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from coloring.network import Network
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from preprocess.cores import available_cores
from serving import answers
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
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FILE_BYTES = 24 << 20  # of a picture that is dropped on the page
QUESTION_BYTES = 6 << 20  # of a page with its hints
MOST_WAITING = 64  # questions that wait for their turn; the next is turned away
LOCAL = ["127.0.0.1", "localhost", "[::1]"]

T = TypeVar("T")
Q = TypeVar("Q", bound=answers.Question)


class Refused(Exception):  # noqa: N818  a refusal is no error of ours
    """A request that is not answered: the status, and one sentence on why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Queue:
    """Lets as many questions be worked on at once as there are cores; the others wait, but not too many."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._turns = CapacityLimiter(at_once)
        self._most_waiting = most_waiting

    async def work(self, answer: Callable[..., T], *given: object) -> T:
        """Runs `answer` in a thread.

        Raises:
          Refused: too many are waiting.
        """
        if self._turns.statistics().tasks_waiting >= self._most_waiting:
            raise Refused(503, "too many drawings are waiting: try again in a few seconds")
        return await to_thread.run_sync(answer, *given, limiter=self._turns)


def make_app(network: Network, hosts: list[str] | None = None, most_waiting: int = MOST_WAITING) -> Starlette:
    """The application.

    Args:
      hosts: names under which it may be asked for: those of this machine if left out. A page of another site
        that has its own name point here (DNS rebinding) is turned away by them.
      most_waiting: questions that wait for their turn at most.
    """
    queue = Queue(available_cores(), most_waiting)
    told = msgspec.json.encode(answers.about(network))

    async def about(request: Request) -> Response:
        return _json(told)

    async def example(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in answers.EXAMPLES:
            raise Refused(404, f"there is no example {name!r}: {', '.join(answers.EXAMPLES)}")
        return _picture(await queue.work(answers.example, name))

    async def lines(request: Request) -> Response:
        source = request.query_params.get("source", "drawing")
        if source not in ("drawing", "photo"):
            raise Refused(400, f"source must be drawing or photo, got {source!r}")
        return _picture(await queue.work(answers.ink, await _body(request, FILE_BYTES), source))

    async def color(request: Request) -> Response:
        question = _question(await _body(request, QUESTION_BYTES), answers.Question)
        pictures = await queue.work(answers.colorings, question, network)
        encoded = [base64.b64encode(picture).decode() for picture in pictures]
        return _json(msgspec.json.encode({"pictures": encoded}))

    async def download(request: Request) -> Response:
        question = _question(await _body(request, QUESTION_BYTES), answers.Download)
        data = await queue.work(answers.file, question, network)
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
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts or LOCAL, www_redirect=False)],
        exception_handlers={
            Refused: _refusal,
            LinewashError: _refusal,
            404: lambda request, _: _sentence(404, f"there is nothing at {request.url.path}"),
            405: lambda request, _: _sentence(
                405, f"{request.url.path} is not asked for with {request.method}"
            ),
            500: lambda *_: _sentence(500, "something went wrong here: what it was stands in the terminal"),
        },
    )


def _static(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    data = (Path(__file__).parent / "page" / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(data, media_type=kind, headers=HEADERS)

    return answer


async def _body(request: Request, most: int) -> bytes:
    """What was sent, refused as soon as it is too long; and from pages of other sites, refused at once."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused(403, "another site's page may not ask")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise Refused(413, f"it is larger than {most >> 20} MB: make it smaller")
    return bytes(data)


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
