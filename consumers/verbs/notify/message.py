"""A message to a contact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Importance = Literal["info", "success", "warning", "failure"]
Format = Literal["text", "html", "markdown"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a contact; *body* is written in *format*.

    Messages with the same *thread*, the id of an alert, belong together; an empty text is no thread.
    """

    title: str
    body: str
    format: Format
    importance: Importance
    thread: str = ""
