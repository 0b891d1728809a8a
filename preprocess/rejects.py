"""The exception for rejected images."""

from __future__ import annotations

# The reject reasons of an image without its drawing, and of a drawing without its image.
NO_DRAWING = "no_drawing"
NO_COLOR = "no_color"


class Rejected(Exception):  # noqa: N818 -- an expected outcome, not an error of the program
    """An image is rejected. `reason` is one word, by which rejects are counted; `detail` is for the user."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
