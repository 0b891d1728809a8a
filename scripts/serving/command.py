"""The command line of scripts/serve.py: a network in, a page to draw on out."""

from __future__ import annotations

import argparse
import socket
import webbrowser

from coloring.command import Parser, add_run

from training.errors import UsageError, WorkError
from training.words import exit_code

PORT = 8765


def parser() -> argparse.ArgumentParser:
    """Every flag."""
    made = Parser(prog="serve", description="A page to draw on, coloured as you draw.")
    add = made.add_argument
    add_run(made)
    add("--port", type=int, default=PORT, help=f"0 takes any that is free [{PORT}]")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen at [127.0.0.1: this machine alone]; 0.0.0.0 lets the whole network draw",
    )
    add("--open", action="store_true", help="open the page in a browser")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    typed = parser().parse_args(words)
    return exit_code("serve", lambda: serve(typed))


def serve(typed: argparse.Namespace) -> int:
    """Serves the page until it is stopped; 0.

    Raises:
      UsageError: a port or address that cannot be had, a network that is not there, or what serves is not
        installed.
      WorkError: the network is damaged.
    """
    try:
        import uvicorn

        from serving.server import LOCAL, make_app
    except ImportError as e:
        raise UsageError(
            f"the page needs {e.name}, which is not installed: pip install 'linewash[demo]'"
        ) from None
    from coloring.network import STARTER, load

    from serving.answers import warm_up

    with _listening(typed.host, typed.port) as listener:
        network = load(typed.run or STARTER)
        warm_up(network)
        everywhere = typed.host in ("0.0.0.0", "::")
        app = make_app(network, ["*"] if everywhere else [*LOCAL, typed.host])
        address = f"http://{_shown(typed.host)}:{listener.getsockname()[1]}"
        print(f"draw at {address}   (Ctrl-C ends it)", flush=True)
        if typed.open:
            webbrowser.open(address)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[listener])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: before the network is loaded, so that a port that is taken is said at once."""
    if not 0 <= port < 65536:
        raise UsageError(f"--port must be 0 to 65535; got {port}")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as e:
        raise WorkError(
            f"cannot listen at {host}:{port} ({e.strerror or e}): type another --port, or --port 0 for any"
        ) from None


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
