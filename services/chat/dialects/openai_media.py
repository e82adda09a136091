"""Images and documents in the messages of both of OpenAI's dialects, by their address or as data in place of one."""

import mimetypes
import re
from typing import Any

from services.chat.turn import Document, Image
from shared.errors import InvalidArgument

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_ADDRESS = ("https://", "http://")


def image(url: str, detail: Any, where: str) -> Image:
    """Translates an image. Raises InvalidArgument for what is neither an address nor data."""
    fineness = detail if detail in ("low", "high") else ""
    if url.startswith(_ADDRESS):
        return Image(url=url, detail=fineness)
    found = _DATA_URL.match(url)
    if found is None:
        raise InvalidArgument.field(where, "must be an https: address or data:<type>;base64,<data>")
    return Image(media_type=found[1].lower(), data=url[found.end() :], detail=fineness)


def document_at(url: str, name: str, where: str) -> Document:
    """Translates a document by its address. Raises InvalidArgument for what is none."""
    if not url.startswith(_ADDRESS):
        raise InvalidArgument.field(where, "must be an https: address")
    return Document(url=url, name=name)


def document(data: str, name: str, where: str) -> Document:
    """Translates a document by its data; where that does not say its type, its name does.

    Raises InvalidArgument where neither does.
    """
    found = _DATA_URL.match(data)
    if found is not None:
        return Document(media_type=found[1].lower(), data=data[found.end() :], name=name)
    media_type, _ = mimetypes.guess_type(name)
    if media_type is None or ":" in data[:64]:
        raise InvalidArgument.field(where, "must be data:<type>;base64,<data>")
    return Document(media_type=media_type, data=data, name=name)
