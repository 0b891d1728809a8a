"""What a connection may cost: how many there are, how long a request may take to arrive, how long its head.

uvicorn limits none of these but the last. tests/test_serve.py names what this file uses of uvicorn beyond its
documentation, and fails when one of the names is gone.
"""

from __future__ import annotations

import asyncio

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256  # at a time; a browser opens six
SPARE_SECONDS = 1.0  # for the request of a connection above that, which is answered with a refusal
REQUEST_SECONDS = 60.0  # for a request to arrive whole, and for an answer to be taken
HEAD_BYTES = 1 << 14  # of a request's line and headers, when they do not come in one piece


class Connection(H11Protocol):
    """A connection that is closed when there are too many, or when its request or its client is too slow.

    A clock runs whenever the client has the next move: from the beginning to the end of the first request,
    and from each answer to the end of the next request.
    """

    _clock: asyncio.TimerHandle | None = None
    _is_spare = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._is_spare = len(self.connections) > MOST_CONNECTIONS
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, or of several, have arrived."""
        if self._is_spare:
            self._refuse(503, "too many connections are open: close other pages, or try again in a minute")
            return
        before = self.conn.their_state
        super().data_received(data)
        after = self.conn.their_state
        if after is h11.IDLE and before is not h11.IDLE:  # the rest of a request that was answered early
            self._start_clock()
        elif after not in (h11.IDLE, h11.SEND_BODY):
            self._stop_clock()

    def on_response_complete(self) -> None:
        """An answer has been given, if not yet taken."""
        super().on_response_complete()
        state = self.conn.their_state
        if state is h11.IDLE or (self._clock is None and state is not h11.DONE):  # DONE: it sent two at once
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whomever."""
        self._stop_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers what h11 cannot read, or finds too long."""
        self._refuse(400, f"this is no HTTP request, or its head is larger than {HEAD_BYTES >> 10} KB")

    def _start_clock(self) -> None:
        self._stop_clock()
        seconds = SPARE_SECONDS if self._is_spare else REQUEST_SECONDS
        self._clock = self.loop.call_later(seconds, self._end)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _end(self) -> None:
        """The client has let its time pass."""
        has_begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if has_begun and not self.transport.get_write_buffer_size():
            self._refuse(408, f"the request did not arrive within {REQUEST_SECONDS:g} seconds: send it again")
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait until it is taken
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        """Closes the connection, after a sentence if the request has no other answer yet."""
        is_answered = (
            self.cycle is not None
            and self.cycle.response_started
            # Of a complete answer and no request under way, the next request is the one to be refused.
            and (not self.cycle.response_complete or self.conn.their_state is h11.SEND_BODY)
        )
        if not is_answered and not self.transport.is_closing():
            body = msgspec.json.encode({"error": sentence})
            head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self.transport.close()
