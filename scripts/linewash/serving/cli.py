"""The command line of scripts/serve.py and linewash-serve.

Only light modules are imported at the top: the others may be missing, and importing them takes seconds during
which no signal handler is installed yet.
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

from linewash.arguments import Parser
from linewash.coloring.cli import add_run_flag
from training.cli import command_name, install_command, run_command, signal_exception
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import uvicorn

    from linewash.coloring.model_loader import Network

PORT = 8765
WILDCARD_HOSTS = ("0.0.0.0", "::")
# Signals that end the server. An ignored signal stays ignored, such as SIGHUP under nohup.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXTRA = "demo"


def make_parser() -> Parser:
    """Returns the parser of all flags."""
    parser = Parser(command_name("serve.py"), "Serves a web page that colours a drawing while you draw.")
    add = parser.add_argument
    add_run_flag(parser)
    add("--port", type=int, default=PORT, help=f"0 chooses a free port [{PORT}]")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen on [127.0.0.1, this machine only]; 0.0.0.0 for the whole network",
    )
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further host name of the page, for a forwarded port or a proxy; may be repeated",
    )
    add("--open", action="store_true", help="open the page in a browser")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = make_parser()

    def work() -> int:
        with SignalHandlers() as signals:
            return serve(parser.parse_args(argv), signals, parser.prog)

    return run_command(parser.prog, work, EXTRA)


class SignalHandlers:
    """While entered, signals end the command: at once before the server runs, then through the server.

    No handler raises an exception. Raised during the import of a module, it may turn into an ImportError or
    disappear; raised inside uvicorn, it interrupts a coroutine at an arbitrary point.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._server: uvicorn.Server | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> SignalHandlers:
        if threading.current_thread() is threading.main_thread():  # Python handles signals only there
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._previous = {
                number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN
            }
            for number in self._previous:
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def attach(self, server: uvicorn.Server) -> None:
        """From now on, a signal asks `server` to exit; a second signal does not wait for open requests."""
        self._server = server

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._server is None:
            os._exit(128 + number)  # nothing has been written, so there is nothing to clean up
        self.received.append(number)
        self._server.force_exit = self._server.should_exit
        self._server.should_exit = True


def serve(args: argparse.Namespace, signals: SignalHandlers, command: str) -> int:
    """Serves the page until a signal arrives.

    Args:
      command: the name that begins messages.

    Raises:
      UsageError: an argument is wrong, the network does not exist, or a package is not installed.
      WorkError: the port is not available, or the network is damaged.
      KeyboardInterrupt: a signal ended the server; `Terminated` for SIGTERM and SIGHUP.
    """
    forwarded_hosts = [_check_host_name(name) for name in args.allowed_host]
    _check_packages()
    with _listen(args.host, args.port) as listener:
        network = _load_network(args)
        address = f"http://{_url_host(args.host)}:{listener.getsockname()[1]}"
        server = _make_server(
            network, args.host, forwarded_hosts, lambda: _announce(address, args.open, command)
        )
        signals.attach(server)
        server.run(sockets=[listener])
    if signals.received:
        raise signal_exception(signals.received[0])
    return 0


def _make_server(
    network: Network, host: str, forwarded_hosts: list[str], announce: Callable[[], None]
) -> uvicorn.Server:
    """Returns a server of the page that calls `announce` when it is listening."""
    import uvicorn

    from linewash.serving.app import ANY_HOST, LOCAL_HOSTS, make_app
    from linewash.serving.connection_limits import MAX_HEAD_BYTES, LimitedConnection

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                announce()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leaves signals to `SignalHandlers`: uvicorn would handle fewer of them, and later."""
            yield

    hosts = [ANY_HOST] if host in WILDCARD_HOSTS else [*LOCAL_HOSTS, _url_host(host).lower()]
    return Server(
        uvicorn.Config(
            make_app(network, hosts, forwarded_hosts), http=LimitedConnection, ws="none", lifespan="off",
            log_level="error", server_header=False, proxy_headers=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES, timeout_graceful_shutdown=5,
        )
    )  # fmt: skip


def _announce(address: str, in_browser: bool, command: str) -> None:
    print(f"draw at {address}   (Ctrl-C stops the server)", flush=True)
    if in_browser:  # in a thread, because a text browser in the terminal blocks until it is closed
        threading.Thread(target=_open_browser, args=(address, command), daemon=True).start()


def _open_browser(address: str, command: str) -> None:
    try:
        is_open = webbrowser.open(address)
    except (OSError, webbrowser.Error):
        is_open = False
    if not is_open:
        print(f"{command}: --open found no browser on this machine: open {address} in one", file=sys.stderr)


def _check_packages() -> None:
    """Checks for packages that are otherwise imported only after the network has been loaded.

    Raises:
      UsageError: a package of the extra is not installed.
    """
    for package in ("anyio", "cv2", "msgspec", "numpy", "PIL", "starlette", "uvicorn"):
        if find_spec(package) is None:
            raise UsageError(
                f"the page needs {package}, which is not installed: run {install_command(EXTRA)}"
            )


def _load_network(args: argparse.Namespace) -> Network:
    from linewash.coloring.model_loader import STARTER, load
    from linewash.serving.service import warm_up

    if args.run is None and find_spec("onnxruntime") is None:
        raise UsageError(
            f"the starter model needs onnxruntime, which is not installed: run {install_command(EXTRA)}"
        )
    network = load(args.run or STARTER)
    warm_up(network)
    return network


def _check_host_name(argument: str) -> str:
    """Returns a host name as it appears in requests.

    Raises:
      UsageError: it is not a host name.
    """
    from linewash.serving.app import host_name

    name = host_name(argument.lower())
    if not name or name != argument.lower():
        raise UsageError(
            f"--allowed-host {argument}: type a host name, such as draw.example.org, without http:// and port"
        )
    return name


def _listen(host: str, port: int) -> socket.socket:
    """Opens the listening socket, before the network is loaded, so that a used port is reported at once."""
    if not 0 <= port < 65536:
        raise UsageError(f"--port must be 0 to 65535; got {port}")
    if not host:
        raise UsageError("--host has no value: type an address, such as 127.0.0.1, or omit the flag")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (socket.gaierror, UnicodeError) as e:
        raise _host_error(host, getattr(e, "strerror", None) or e) from None
    except OSError as e:
        reason = os.strerror(e.errno or 0)
        if e.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL):
            raise _host_error(host, reason) from None
        raise WorkError(
            f"cannot listen on {host}:{port} ({reason}): type another --port, or --port 0 for any free one"
        ) from None


def _host_error(host: str, reason: object) -> UsageError:
    return UsageError(
        f"--host {host} is not an address of this machine ({reason}): omit the flag for this machine only, "
        "or type --host 0.0.0.0 for the whole network"
    )


def _url_host(host: str) -> str:
    """Returns the host as it is written in a URL and in Host headers."""
    if host in WILDCARD_HOSTS:
        return "127.0.0.1"
    return f"[{ipaddress.ip_address(host.partition('%')[0])}]" if ":" in host else host
