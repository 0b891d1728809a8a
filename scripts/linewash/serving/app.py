"""The HTTP application: the files of the page, and `service` as JSON requests."""

from __future__ import annotations

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

STATIC_FOLDER = Path(__file__).parent / "static"
STATIC_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
START_PAGE = "index.html"
DOWNLOAD_MEDIA_TYPES = {"png": "image/png", "ora": "image/openraster", "svg": "image/svg+xml"}
RESPONSE_HEADERS = {
    # The page loads nothing from other servers, and no other site may embed it.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, browsers may send "Origin: null" with the page's own requests.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_FILE_BYTES = 32 << 20  # of an image that is opened on the page
MAX_REQUEST_BYTES = 16 << 20  # of a drawing, its hints and so on as JSON
MAX_WAITING = 64  # requests that wait for a core; further ones are rejected
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
ANY_HOST = "*"  # among the host names of the page: every name is accepted

T = TypeVar("T")
R = TypeVar("R", bound=service.ColorizeRequest)


class RequestError(Exception):
    """A request that is rejected, with an HTTP status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class WorkQueue:
    """Runs as many requests at once as there are cores; a limited number of others waits."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._limiter = CapacityLimiter(max_running)
        self._free_slots = max_running + max_waiting

    @contextmanager
    def reserve_slot(self) -> Iterator[None]:
        """Reserves a slot for a request while entered. It is reserved before the body is read.

        Raises:
          RequestError: no slot is free.
        """
        if self._free_slots < 1:
            raise RequestError(503, "too many drawings are waiting: try again in a few seconds")
        self._free_slots -= 1
        try:
            yield
        finally:
            self._free_slots += 1

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Runs `function` in a thread as soon as a core is free and returns its result."""
        return await to_thread.run_sync(function, *args, limiter=self._limiter)


class HostOriginMiddleware:
    """Rejects requests for unknown host names, and requests that pages of other sites send.

    The check of the host name prevents DNS rebinding, by which another site's name is made to point to this
    server. The check of the origin prevents pages of other sites from using the server.

    Args:
      hosts: the accepted host names, in lower case, IPv6 addresses in []; or `ANY_HOST`.
      forwarded_hosts: the names under which a proxy or a forwarded port is reached. It may replace the Host
        header, so requests whose origin has one of these names are accepted in any case.
    """

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], forwarded_hosts: Collection[str] = ()
    ) -> None:  # fmt: skip
        self._app = app
        self._hosts = {*hosts, *forwarded_hosts}
        self._forwarded_hosts = frozenset(forwarded_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or sends an error."""
        if scope["type"] == "http":
            try:
                self._check(scope["method"], Headers(scope=scope))
            except RequestError as error:
                await _json_error(error.status, str(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, headers: Headers) -> None:
        address = headers.get("host", "").lower()
        host = host_name(address)
        if not host:
            raise RequestError(400, "the request has no valid Host header: use the address that was printed")
        if ANY_HOST not in self._hosts and host not in self._hosts:
            raise RequestError(
                400,
                f"the server does not accept the host name {host}; if you reach it by this name (through a "
                f"forwarded port or a proxy), start it with --allowed-host {host}",
            )
        if method not in ("GET", "HEAD") and self._is_cross_site(headers, address):
            raise RequestError(
                403,
                "requests from another site's page are rejected; if this is the linewash page, behind a "
                "forwarded port or a proxy, start it with --allowed-host and the host name in the browser's "
                "address bar",
            )

    def _is_cross_site(self, headers: Headers, address: str) -> bool:
        """Returns whether a page of another site sent the request. Only browsers send these headers."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        scheme, _, origin_address = origin.lower().partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        return origin_address.removesuffix(port) != address.removesuffix(port) and (
            host_name(origin_address) not in self._forwarded_hosts
        )


def host_name(address: str) -> str:
    """Returns the host of HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; empty if the address is none of these."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", address, re.ASCII)
    return match[1] if match else ""


def make_app(
    network: Network,
    hosts: Collection[str] = LOCAL_HOSTS,
    forwarded_hosts: Collection[str] = (),
    max_waiting: int = MAX_WAITING,
) -> Starlette:
    """Creates the application.

    Args:
      hosts, forwarded_hosts: see `HostOriginMiddleware`.
      max_waiting: number of requests that may wait for a core.
    """
    queue = WorkQueue(available_cores(), max_waiting)
    settings = msgspec.json.encode(service.page_settings(network))

    async def about(request: Request) -> Response:
        return _json(settings)

    async def example(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in service.EXAMPLES:
            raise RequestError(404, f"there is no example {name!r}: {', '.join(service.EXAMPLES)}")
        with queue.reserve_slot():
            return _png(await queue.run(service.render_example, name))

    async def lines(request: Request) -> Response:
        source = request.query_params.get("source", "auto")
        if source not in ("auto", "drawing", "photo"):
            raise RequestError(400, f"source must be auto, drawing or photo, got {source!r}")
        with queue.reserve_slot():
            data = await _read_body(request, MAX_FILE_BYTES)
            found = await queue.run(service.extract_lines, data, source)
        headers = {
            "Linewash-Size": f"{found.width}x{found.height}",
            "Linewash-Looks-Like": found.looks_like,
        }
        return _png(found.png, headers)

    async def color(request: Request) -> Response:
        with queue.reserve_slot():
            body = await _read_body(request, MAX_REQUEST_BYTES)
            parsed = _parse_request(body, service.ColorizeRequest)
            return _json(msgspec.json.encode(await queue.run(service.color_preview, parsed, network)))

    async def reference(request: Request) -> Response:
        with queue.reserve_slot():
            data = await _read_body(request, MAX_FILE_BYTES)
            colors = await queue.run(service.reference_colors, data, network)
        return _json(msgspec.json.encode({"colors": colors}))

    async def download(request: Request) -> Response:
        with queue.reserve_slot():
            body = await _read_body(request, MAX_REQUEST_BYTES)
            parsed = _parse_request(body, service.DownloadRequest)
            data = await queue.run(service.render_download, parsed, network)
        media_type = DOWNLOAD_MEDIA_TYPES[parsed.format]
        disposition = f'attachment; filename="drawing.{parsed.format}"'
        headers = RESPONSE_HEADERS | {"Content-Disposition": disposition}
        return Response(data, media_type=media_type, headers=headers)

    return Starlette(
        routes=[
            Route("/", _static_file(STATIC_FOLDER / START_PAGE)),
            *[Route(f"/{path.name}", _static_file(path)) for path in static_files()],
            Route("/about", about),
            Route("/examples/{name}", example),
            Route("/lines", lines, methods=["POST"]),
            Route("/color", color, methods=["POST"]),
            Route("/download", download, methods=["POST"]),
            Route("/reference", reference, methods=["POST"]),
        ],
        middleware=[Middleware(HostOriginMiddleware, hosts, forwarded_hosts)],
        exception_handlers={
            RequestError: _error_response,
            LinewashError: _error_response,
            ClientDisconnect: lambda *_: _json_error(
                400, "the connection was closed before the request ended"
            ),
            404: lambda request, _: _json_error(404, f"there is nothing at {request.url.path}"),
            405: lambda request, _: _json_error(
                405, f"{request.url.path} does not accept the method {request.method}"
            ),
            500: lambda *_: _json_error(500, "internal error; see the terminal"),
        },
    )


def static_files() -> list[Path]:
    """Returns the files of the page. No other file is served, and each under its own name only."""
    return sorted(path for path in STATIC_FOLDER.iterdir() if path.suffix in STATIC_MEDIA_TYPES)


def _static_file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    data, media_type = path.read_bytes(), STATIC_MEDIA_TYPES[path.suffix]

    async def respond(request: Request) -> Response:
        return Response(data, media_type=media_type, headers=RESPONSE_HEADERS)

    return respond


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Reads the body of a request; stops as soon as its size or its Content-Length exceeds the limit."""
    declared_bytes = request.headers.get("content-length", "0")
    data = bytearray()
    if not declared_bytes.isdigit() or int(declared_bytes) <= max_bytes:
        async for chunk in request.stream():
            data += chunk
            if len(data) > max_bytes:
                break
        else:
            return bytes(data)
    raise RequestError(413, f"the image is larger than {max_bytes >> 20} MB: make it smaller")


def _parse_request(data: bytes, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise RequestError(400, f"the request is not valid ({e}): load the page again") from None


def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return _json_error(error.status, str(error))
    return _json_error(400 if isinstance(error, UsageError) else 422, str(error))


def _json_error(status: int, message: str) -> Response:
    return _json(msgspec.json.encode({"error": message}), status)


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json", headers=RESPONSE_HEADERS)


def _png(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, media_type="image/png", headers=RESPONSE_HEADERS | (headers or {}))
