"""Why an image is left out."""

from __future__ import annotations


class Rejected(Exception):  # noqa: N818 -- an outcome, not a fault of the program
    """An image that is left out: `reason` is one word for the ledger, `detail` a few for the reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
