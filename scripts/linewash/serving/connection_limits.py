"""Limits the number of connections, the duration of a request and the size of its head.

uvicorn itself limits only the last. tests/test_serve.py lists the undocumented names of uvicorn that this
file uses, and fails if one of them is removed.
"""

from __future__ import annotations

import asyncio

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256  # at a time; a browser opens six
REJECTION_SECONDS = 1.0  # a further connection waits this long for its request, which gets an error
REQUEST_SECONDS = 60.0  # for a request to arrive completely, and for a response to be received
MAX_HEAD_BYTES = 1 << 14  # of the request line and the headers, if they arrive in several pieces


class LimitedConnection(H11Protocol):
    """A connection that is closed if there are too many, or if the client is too slow.

    A timer runs whenever the client has to act: from the start to the end of the first request, and from each
    response to the end of the next request.
    """

    _timer: asyncio.TimerHandle | None = None
    _is_over_limit = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._is_over_limit = len(self.connections) > MAX_CONNECTIONS
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """A part of a request has arrived, or of several."""
        if self._is_over_limit:
            self._reject(503, "too many connections are open: close other pages, or try again in a minute")
            return
        before = self.conn.their_state
        super().data_received(data)
        after = self.conn.their_state
        if after is h11.IDLE and before is not h11.IDLE:  # the rest of a request with an early response
            self._start_timer()
        elif after not in (h11.IDLE, h11.SEND_BODY):
            self._stop_timer()

    def on_response_complete(self) -> None:
        """A response has been written, though perhaps not received."""
        super().on_response_complete()
        state = self.conn.their_state
        # In the state DONE the client sent the next request before this response.
        if state is h11.IDLE or (self._timer is None and state is not h11.DONE):
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by either side."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Rejects a request that h11 cannot parse, or whose head is too long."""
        self._reject(400, f"not a valid HTTP request, or its head is larger than {MAX_HEAD_BYTES >> 10} KB")

    def _start_timer(self) -> None:
        self._stop_timer()
        seconds = REJECTION_SECONDS if self._is_over_limit else REQUEST_SECONDS
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        has_started = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if has_started and not self.transport.get_write_buffer_size():
            self._reject(408, f"the request did not arrive within {REQUEST_SECONDS:g} seconds: send it again")
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # `close` would wait until the client has received everything
        else:
            self.transport.close()

    def _reject(self, status: int, message: str) -> None:
        """Closes the connection, after a JSON error unless the request already has a response."""
        has_response = (
            self.cycle is not None
            and self.cycle.response_started
            # After a complete response without a request in progress, the next request is rejected.
            and (not self.cycle.response_complete or self.conn.their_state is h11.SEND_BODY)
        )
        if not has_response and not self.transport.is_closing():
            body = msgspec.json.encode({"error": message})
            head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self.transport.close()
