"""The command line of scripts/serve.py: a network in, a page to draw on out.

Only light modules are imported above: the others are missing where an extra is not installed, and take time
in which a signal would find nobody to handle it.
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any

from training.cli import Terminated, install_command, run_command
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import uvicorn

    from linewash.coloring.model_loader import Network

PORT = 8765
EVERYWHERE = ("0.0.0.0", "::")
# Signals that end the page, except those that are ignored from the start: nohup ignores SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXTRA = "demo"


def parser() -> argparse.ArgumentParser:
    """Every flag."""
    from linewash.coloring.cli import Parser, add_run

    made = Parser(prog="serve", description="A page to draw on, coloured as you draw.")
    add = made.add_argument
    add_run(made)
    add("--port", type=int, default=PORT, help=f"0 takes any that is free [{PORT}]")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen at [127.0.0.1: this machine alone]; 0.0.0.0 lets the whole network draw",
    )
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also a name of the page, when a forwarded port or a proxy leads to it; may be given repeatedly",
    )
    add("--open", action="store_true", help="open the page in a browser")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run_command("serve", lambda: _run(words), EXTRA)


def _run(words: list[str] | None) -> int:
    with Signals() as signals:
        return serve(parser().parse_args(words), signals)


class Signals:
    """While entered, signals end the command: at once before anything is served, then by way of the server.

    No handler raises an exception. One that is raised while a module is imported may come out as an
    ImportError, or not at all; one that is raised in uvicorn breaks a coroutine wherever it just is, even
    before it began.
    """

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self._server: uvicorn.Server | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # Python handles signals in that one alone
            before = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
            for number in self._before:
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def end_server(self, server: uvicorn.Server) -> None:
        """From now on a signal asks `server` to end, a second one not to wait for answers under way."""
        self._server = server

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._server is None:
            os._exit(128 + number)  # nothing has been written, so that nothing has to be tidied up
        self.arrived.append(number)
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


def serve(typed: argparse.Namespace, signals: Signals) -> int:
    """Serves the page until a signal ends it.

    Raises:
      UsageError: a port, an address or a name that cannot be meant, a network that is not there, or what
        serves is not installed.
      WorkError: the port cannot be had, or the network is damaged.
      KeyboardInterrupt: a signal ended it; `Terminated` for SIGTERM and SIGHUP.
    """
    forwarded = [_name(name) for name in typed.allowed_host]
    _check_installed()
    with _listening(typed.host, typed.port) as listener:
        network = _load(typed)
        address = f"http://{_shown(typed.host)}:{listener.getsockname()[1]}"
        server = _server(network, typed.host, forwarded, lambda: _announce(address, typed.open))
        signals.end_server(server)
        server.run(sockets=[listener])
    if signals.arrived:
        raise KeyboardInterrupt if signals.arrived[0] == signal.SIGINT else Terminated(signals.arrived[0])
    return 0


def _server(
    network: Network, host: str, forwarded: list[str], announce: Callable[[], None]
) -> uvicorn.Server:
    """A server of the page that calls `announce` once it listens."""
    import uvicorn

    from linewash.serving.app import ANY, LOCAL, make_app
    from linewash.serving.limits import HEAD_BYTES, Connection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                announce()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leaves them to `Signals`: uvicorn would handle fewer, and these later."""
            yield

    names = [ANY] if host in EVERYWHERE else [*LOCAL, _shown(host).lower()]
    return Server(
        uvicorn.Config(
            make_app(network, names, forwarded), http=Connection, ws="none", lifespan="off",
            log_level="error", server_header=False, proxy_headers=False,
            h11_max_incomplete_event_size=HEAD_BYTES, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


def _announce(address: str, in_browser: bool) -> None:
    print(f"draw at {address}   (Ctrl-C ends it)", flush=True)
    if in_browser:  # in a thread of its own: a browser in the terminal returns when it is left
        threading.Thread(target=_open, args=(address,), daemon=True).start()


def _open(address: str) -> None:
    try:
        is_open = webbrowser.open(address)
    except (OSError, webbrowser.Error):
        is_open = False
    if not is_open:
        print(f"serve: --open found no browser on this machine: open {address} in one", file=sys.stderr)


def _check_installed() -> None:
    """Looks for what would otherwise be missed only after the network was loaded.

    Raises:
      UsageError: a package of the extra is not installed.
    """
    for package in ("anyio", "cv2", "msgspec", "numpy", "PIL", "starlette", "uvicorn"):
        if find_spec(package) is None:
            raise UsageError(
                f"the page needs {package}, which is not installed: run {install_command(EXTRA)}"
            )


def _load(typed: argparse.Namespace) -> Network:
    from linewash.coloring.model_loader import STARTER, load
    from linewash.serving.service import warm_up

    if typed.run is None and find_spec("onnxruntime") is None:
        raise UsageError(
            f"the starter model needs onnxruntime, which is not installed: run {install_command(EXTRA)}"
        )
    network = load(typed.run or STARTER)
    warm_up(network)
    return network


def _name(typed: str) -> str:
    """A name as requests have it.

    Raises:
      UsageError: it is none.
    """
    from linewash.serving.app import host_name

    name = host_name(typed.lower())
    if not name or name != typed.lower():
        raise UsageError(
            f"--allowed-host {typed}: type a name alone, such as draw.example.org, without http:// and port"
        )
    return name


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: before the network is loaded, so that a port that is taken is said at once."""
    if not 0 <= port < 65536:
        raise UsageError(f"--port must be 0 to 65535; got {port}")
    if not host:
        raise UsageError("--host has no value: type an address, such as 127.0.0.1, or leave it out")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (socket.gaierror, UnicodeError) as e:
        raise _no_address(host, getattr(e, "strerror", None) or e) from None
    except OSError as e:
        reason = os.strerror(e.errno or 0)
        if e.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL):
            raise _no_address(host, reason) from None
        raise WorkError(
            f"cannot listen at {host}:{port} ({reason}): type another --port, or --port 0 for any"
        ) from None


def _no_address(host: str, reason: object) -> UsageError:
    return UsageError(
        f"--host {host} is no address of this machine ({reason}): leave it out to draw on this machine "
        "alone, or type --host 0.0.0.0 to let the whole network draw"
    )


def _shown(host: str) -> str:
    """The host as it is written in an address, and as browsers ask for it."""
    if host in EVERYWHERE:
        return "127.0.0.1"
    return f"[{ipaddress.ip_address(host.partition('%')[0])}]" if ":" in host else host
