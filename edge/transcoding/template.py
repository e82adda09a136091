"""The path templates of `google.api.http` rules: their grammar and what their variables capture.

The grammar is that of google/api/http.proto, widened where no ambiguity follows: variables may nest
(`{parent={shelf}/*}`), literals may follow `**`, and a verb may hold `:`.
"""

import enum
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# RFC 3986 pchar without "%" and ":" are what quote() must leave as they are, so that a template reads like its URL.
_PATH_SAFE = "-._~!$&'()*+,;=@:"


class TemplateError(ValueError):
    """A path template outside the grammar; the message names the template, the place and what was expected."""


class Kind(enum.Enum):
    """What one segment of a template matches: a text, one non-empty segment, or any number of segments."""

    LITERAL = "literal"
    SINGLE = "*"
    DEEP = "**"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a template; `text` is a literal's percent-decoded text, else empty."""

    kind: Kind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable and the segments it captures, `start` included and `stop` excluded."""

    field_path: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: its source, segments, verb (empty for none) and variables in the order of their braces."""

    source: str
    segments: tuple[Segment, ...]
    verb: str
    variables: tuple[Variable, ...]

    @property
    def deep(self) -> int | None:
        """Index of the `**` segment, if there is one."""
        return next((i for i, segment in enumerate(self.segments) if segment.kind is Kind.DEEP), None)

    @property
    def shape(self) -> tuple[object, ...]:
        """What tells this template from others: two templates of one shape match the same paths."""
        return (*((s.kind, s.text) for s in self.segments), self.verb)

    @property
    def is_static(self) -> bool:
        """Whether it matches one path only."""
        return all(segment.kind is Kind.LITERAL for segment in self.segments)

    def is_multi(self, variable: Variable) -> bool:
        """Tell whether a variable may capture other than exactly one segment, so that `%2F` in it stays encoded."""
        return variable.stop - variable.start != 1 or self.segments[variable.start].kind is Kind.DEEP

    def path(self, single: str = "*", deep: str = "**") -> str:
        """Return a URL path of this shape, percent-encoded, with the given text for each wildcard."""
        texts = [
            quote(s.text, safe=_PATH_SAFE) if s.kind is Kind.LITERAL else single if s.kind is Kind.SINGLE else deep
            for s in self.segments
        ]
        # An empty text for `**` stands for no segment at all.
        texts = [
            text for text, segment in zip(texts, self.segments, strict=True) if text or segment.kind is not Kind.DEEP
        ]
        return "/" + "/".join(texts) + (":" + quote(self.verb, safe=_PATH_SAFE) if self.verb else "")


def parse_template(source: str) -> Template:
    """Parse a path template such as `/v1/{name=shelves/*}/books:list`.

    Raises `TemplateError`. `/` alone is the template without segments.
    """
    return _Parser(source).parse()


class _Parser:
    """Recursive descent over one template."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._segments: list[Segment] = []
        self._variables: list[Variable | None] = []

    def parse(self) -> Template:
        if not self._source.startswith("/"):
            raise self._error('a template starts with "/"')
        self._at = 1
        verb = ""
        if self._source != "/":
            self._parse_segments(depth=0)
            if self._at < len(self._source):
                verb = self._parse_verb()
        if sum(segment.kind is Kind.DEEP for segment in self._segments) > 1:
            raise self._error("at most one ** may stand in a template")
        variables = tuple(v for v in self._variables if v is not None)
        seen: set[str] = set()
        for variable in variables:
            if variable.field_path in seen:
                raise self._error(f'the variable "{variable.field_path}" stands twice')
            seen.add(variable.field_path)
        return Template(self._source, tuple(self._segments), verb, variables)

    def _parse_segments(self, depth: int) -> None:
        while True:
            self._parse_segment(depth)
            if self._peek() != "/":
                return
            self._at += 1

    def _parse_segment(self, depth: int) -> None:
        if self._source.startswith("**", self._at):
            self._at += 2
            self._segments.append(Segment(Kind.DEEP))
        elif self._peek() == "*":
            self._at += 1
            self._segments.append(Segment(Kind.SINGLE))
        elif self._peek() == "{":
            self._parse_variable(depth)
        else:
            self._segments.append(Segment(Kind.LITERAL, self._parse_literal(depth)))
        if self._peek() not in ("", "/", ":", "}"):
            raise self._error('a segment ends with "/", ":", "}" or the template\'s end')

    def _parse_variable(self, depth: int) -> None:
        self._at += 1
        name = _FIELD_PATH.match(self._source, self._at)
        if name is None:
            raise self._error("a field path such as name or book.name was expected")
        self._at = name.end()
        # The place is kept now, so that variables stand in the order of their braces also where they nest.
        place, start = len(self._variables), len(self._segments)
        self._variables.append(None)
        if self._peek() == "=":
            self._at += 1
            self._parse_segments(depth + 1)
        else:
            self._segments.append(Segment(Kind.SINGLE))
        if self._peek() != "}":
            raise self._error('"}" was expected')
        self._at += 1
        self._variables[place] = Variable(name.group(), start, len(self._segments))

    def _parse_literal(self, depth: int) -> str:
        end = self._at
        while end < len(self._source) and self._source[end] not in "/{}*":
            end += 1
        text = self._source[self._at : end]
        # In the last segment outside braces the first ":" begins the verb; elsewhere it is an ordinary character.
        if depth == 0 and end == len(self._source) and ":" in text:
            text = text[: text.index(":")]
        if not text:
            raise self._error("a segment must not be empty")
        self._at += len(text)
        return self._decode(text)

    def _parse_verb(self) -> str:
        if self._peek() != ":":
            raise self._error('"/", ":" or the template\'s end was expected')
        verb = self._source[self._at + 1 :]
        if not verb or any(c in verb for c in "/{}*"):
            raise self._error('a verb is a text without "/", "{", "}" and "*" at the template\'s end')
        return self._decode(verb)

    def _decode(self, text: str) -> str:
        if _ESCAPE.search(text):
            raise self._error('"%" must be followed by two hexadecimal digits')
        try:
            literal = unquote_to_bytes(text).decode()
        except UnicodeDecodeError:
            raise self._error(f'"{text}" is not UTF-8 when percent-decoded') from None
        if literal in (".", ".."):
            raise self._error('"." and ".." are no segments')
        return literal

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _error(self, reason: str) -> TemplateError:
        return TemplateError(f'path template "{self._source}", at position {self._at}: {reason}')
