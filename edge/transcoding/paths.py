"""Finds what is registered for a path: one trie per HTTP method and verb, most specific first.

Specificity, segment by segment from the left: literal, then one segment, then `**`; of several `**` at one place the
one with the longer tail first. A trie holds the rules of one HTTP method only, so a literal branch without that
method never hides a wildcard that has it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from edge.transcoding.template import Kind, Template

T = TypeVar("T")

_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
# RFC 6570, section 1.5. In a capture of several segments these keep their escapes, else `a%2Fb` and `a/b` were one.
_RESERVED = frozenset(b"!#$&'()*+,/:;=?@[]")


class PathError(ValueError):
    """A path that no rule may be asked about: malformed escapes, no UTF-8, or dot segments."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Where a variable's text lies among a path's segments.

    `where` is an index for a variable of exactly one segment, else a slice; both count from the end behind `**`.
    """

    where: int | slice


@dataclass(slots=True)
class _Leaf(Generic[T]):
    value: T
    captures: tuple[Capture, ...]
    rank: int


class _Node(Generic[T]):
    __slots__ = ("deep", "leaf", "literals", "single")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.single: _Node[T] | None = None
        # By length of the tail behind `**`, longest first.
        self.deep: list[tuple[int, _Node[T]]] = []
        self.leaf: _Leaf[T] | None = None


class PathTable(Generic[T]):
    """The rules of one HTTP method.

    `reject_dot_segments` refuses paths with a `.` or `..` segment, encoded or not (`PathError`).
    """

    def __init__(self, *, reject_dot_segments: bool = True) -> None:
        self.static: dict[bytes, T] = {}
        self._static_rank: dict[bytes, int] = {}
        self._tries: dict[str, _Node[T]] = {}
        self._reject_dot_segments = reject_dot_segments

    def add(self, template: Template, value: T, *, rank: int = 0, trailing_slash: bool = False) -> T | None:
        """Register a template.

        Where another value of the same shape is registered, the one of lower `rank` stays, and of equal rank the
        newer one; the value that gave way is returned. `trailing_slash` takes the path with a `/` behind it as well.
        """
        texts = [(segment.kind, segment.text) for segment in template.segments]
        replaced = self._insert(template, texts, value, rank)
        if trailing_slash and texts:
            self._insert(template, [*texts, (Kind.LITERAL, "")], value, rank)
        if template.is_static:
            path = template.path().encode()
            for form in (path, path + b"/") if trailing_slash and texts else (path,):
                if rank <= self._static_rank.get(form, rank):
                    self.static[form] = value
                    self._static_rank[form] = rank
        return replaced

    def match(self, raw_path: str) -> tuple[T, Sequence[str]] | None:
        """Find the value for a path as it came over the wire, and the decoded captures in the variables' order.

        Raises `PathError`.
        """
        raw = raw_path[1:].split("/") if raw_path != "/" else []
        encoded = "%" in raw_path
        # A verb ends the last segment; with a trailing slash that is the one before the empty one.
        last = len(raw) - 1 if raw and raw[-1] else len(raw) - 2
        if last >= 0 and ":" in raw[last]:
            text = raw[last]
            colon = text.find(":")
            while colon >= 0:
                verb = text[colon + 1 :]
                trie = self._tries.get(_decode(verb) if encoded else verb) if verb else None
                if trie is not None:
                    raw[last] = text[:colon]
                    found = self._walk(trie, raw, encoded=encoded)
                    if found is not None:
                        return found
                    raw[last] = text
                colon = text.find(":", colon + 1)
        trie = self._tries.get("")
        return self._walk(trie, raw, encoded=encoded) if trie is not None else None

    def check(self, raw_path: str) -> None:
        """Raise `PathError` where a path is malformed or holds dot segments, whatever is registered."""
        if not raw_path.isascii():
            raise PathError("the path must be ASCII; other characters are percent-encoded as UTF-8")
        if "%" in raw_path:
            if malformed := _MALFORMED.search(raw_path):
                raise PathError(
                    f'the path has "%" without two hexadecimal digits at character {malformed.start()}; '
                    'a "%" itself is written %25'
                )
            parts = _decode(raw_path).split("/")
        elif "/." in raw_path:
            parts = raw_path.split("/")
        else:
            return
        if self._reject_dot_segments and ("." in parts or ".." in parts):
            raise PathError('the path has a "." or ".." segment; write the path without them')

    def _walk(self, trie: _Node[T], raw: list[str], *, encoded: bool) -> tuple[T, Sequence[str]] | None:
        parts = [_decode(part) for part in raw] if encoded else raw
        leaf = _find(trie, parts, 0, len(parts))
        if leaf is None:
            return None
        captured = [
            parts[capture.where]
            if isinstance(capture.where, int)
            else _decode_multi("/".join(raw[capture.where]))
            if encoded
            else "/".join(raw[capture.where])
            for capture in leaf.captures
        ]
        return leaf.value, captured

    def _insert(self, template: Template, segments: Sequence[tuple[Kind, str]], value: T, rank: int) -> T | None:
        node = self._tries.setdefault(template.verb, _Node())
        for index, (kind, text) in enumerate(segments):
            if kind is Kind.LITERAL:
                node = node.literals.setdefault(text, _Node())
            elif kind is Kind.SINGLE:
                node.single = node.single or _Node()
                node = node.single
            else:
                tail = len(segments) - index - 1
                child = next((child for length, child in node.deep if length == tail), None)
                if child is None:
                    child = _Node()
                    node.deep.append((tail, child))
                    node.deep.sort(key=lambda item: -item[0])
                node = child
        before = node.leaf
        if before is not None and before.rank < rank:
            return value
        node.leaf = _Leaf(value, tuple(_captures(template, len(segments))), rank)
        return None if before is None else before.value


def _find(node: _Node[T], parts: Sequence[str], at: int, stop: int) -> _Leaf[T] | None:
    """Walk depth first; every node is entered at most once, so that no path costs more than the trie's size."""
    if at == stop:
        if node.leaf is not None:
            return node.leaf
    else:
        part = parts[at]
        literal = node.literals.get(part)
        if literal is not None:
            found = _find(literal, parts, at + 1, stop)
            if found is not None:
                return found
        if node.single is not None and part:
            found = _find(node.single, parts, at + 1, stop)
            if found is not None:
                return found
    for tail, child in node.deep:
        if stop - tail >= at:
            found = _find(child, parts, stop - tail, stop)
            if found is not None:
                return found
    return None


def _captures(template: Template, length: int) -> Iterator[Capture]:
    deep = template.deep
    for variable in template.variables:
        start, stop = (
            place if deep is None or place <= deep else place - length for place in (variable.start, variable.stop)
        )
        if template.is_multi(variable):
            # Behind `**` places count from the end, and the end itself is 0 from there, which a slice writes as None.
            yield Capture(slice(start, None if stop == 0 and variable.stop else stop))
        else:
            yield Capture(start)


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise PathError("the path is not UTF-8 when percent-decoded") from None


def _decode_multi(text: str) -> str:
    data = _ESCAPE.sub(_keep_reserved, text.encode("ascii"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PathError("the path is not UTF-8 when percent-decoded") from None


def _keep_reserved(escape: re.Match[bytes]) -> bytes:
    byte = int(escape.group(1), 16)
    return escape.group() if byte in _RESERVED else bytes((byte,))
