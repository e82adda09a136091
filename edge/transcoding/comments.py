"""The comments of contracts, as documentation: found by full name, without what is meant for linters."""

import re
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

# Numbers of the fields of google/protobuf/descriptor.proto, of which the paths of source locations consist.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES, _FILE_EXTENSIONS = 4, 5, 6, 7
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS, _MESSAGE_EXTENSIONS, _MESSAGE_ONEOFS = 2, 3, 4, 6, 8
_ENUM_VALUES, _SERVICE_METHODS = 2, 2

# `(-- … --)` is for the maintainers of an API (AIP-192), directives of buf and protolint for their programs.
_INTERNAL = re.compile(r"\(--.*?--\)", re.DOTALL)
_DIRECTIVE = re.compile(r"\s*(?:buf:lint:|protolint:|api-linter:)")
# Lines that Markdown does not join to the one before.
_BLOCK = re.compile(r"\s*(?:[-*+>|#]|[0-9]+[.)]\s|```)|\s{4,}")
_BLANK_LINES = re.compile(r"\n{3,}")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[^a-z\s])")
_PAUSE = re.compile(r"[:;](?=\s)|\s[\u2013\u2014-](?=\s)")
_SUMMARY_LENGTH = 100

Path = tuple[int, ...]


class Comments:
    """Texts by full name: `pkg.Service.Method`, `pkg.Message.field`, `pkg.Message.oneof`, `pkg.Enum.VALUE`."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._texts = dict(texts or {})

    @classmethod
    def of_descriptor_set(cls, serialised: bytes) -> "Comments":
        """Return the comments of a FileDescriptorSet that was written with `--include_source_info`."""
        return cls.of_files(FileDescriptorSet.FromString(serialised).file)

    @classmethod
    def of_files(cls, files: Iterable[FileDescriptorProto]) -> "Comments":
        """Return the comments of files; those without source information have none."""
        texts: dict[str, str] = {}
        for file in files:
            found = {
                tuple(location.path): text
                for location in file.source_code_info.location
                if (text := _clean(location.leading_comments or location.trailing_comments))
            }
            if found:
                texts.update((name, found[path]) for path, name in _names(file) if path in found)
        return cls(texts)

    def of(self, full_name: str) -> str:
        """Return the comment of an element, as Markdown; empty where it has none."""
        return self._texts.get(full_name, "")


def split_summary(text: str) -> tuple[str, str]:
    """Return a comment's first sentence as plain text without its full stop, and the rest as Markdown.

    Where the first sentence is too long for a headline it is cut at a pause, and the rest is all of it.
    """
    paragraph = text.partition("\n\n")[0]
    end = _SENTENCE_END.search(paragraph)
    first = paragraph if end is None else paragraph[: end.end()]
    summary = first.removesuffix(".").replace("`", "")
    if len(summary) <= _SUMMARY_LENGTH:
        return summary, text[len(first) :].strip()
    pause = _PAUSE.search(summary, 0, _SUMMARY_LENGTH)
    cut = pause.start() if pause is not None else summary.rfind(", ", 0, _SUMMARY_LENGTH)
    return summary[:cut] if cut > 0 else summary, text


def _clean(comment: str) -> str:
    text, fenced = "", False
    for raw in _INTERNAL.sub("", comment).split("\n"):
        line = raw.removeprefix(" ").rstrip()
        if _DIRECTIVE.match(line):
            continue
        # Contracts wrap their lines, and some renderers of Markdown keep every line break.
        joined = text and line and not fenced and not text.endswith("\n") and not _BLOCK.match(line)
        text += (" " + line.lstrip()) if joined else f"\n{line}"
        if not line:
            text += "\n"
        fenced ^= line.lstrip().startswith("```")
    return _BLANK_LINES.sub("\n\n", text).strip()


def _names(file: FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    """Yield the path and the full name of everything that a file declares."""
    prefix = f"{file.package}." if file.package else ""
    for index, service in enumerate(file.service):
        path, name = (_FILE_SERVICES, index), prefix + service.name
        yield path, name
        for number, method in enumerate(service.method):
            yield (*path, _SERVICE_METHODS, number), f"{name}.{method.name}"
    for index, message in enumerate(file.message_type):
        yield from _message((_FILE_MESSAGES, index), prefix, message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum((_FILE_ENUMS, index), prefix, enum)
    yield from _fields((_FILE_EXTENSIONS,), prefix, file.extension)


def _message(path: Path, prefix: str, message: DescriptorProto) -> Iterator[tuple[Path, str]]:
    yield path, prefix + message.name
    prefix = f"{prefix}{message.name}."
    yield from _fields((*path, _MESSAGE_FIELDS), prefix, message.field)
    yield from _fields((*path, _MESSAGE_EXTENSIONS), prefix, message.extension)
    for index, oneof in enumerate(message.oneof_decl):
        yield (*path, _MESSAGE_ONEOFS, index), prefix + oneof.name
    for index, nested in enumerate(message.nested_type):
        yield from _message((*path, _MESSAGE_NESTED, index), prefix, nested)
    for index, enum in enumerate(message.enum_type):
        yield from _enum((*path, _MESSAGE_ENUMS, index), prefix, enum)


def _enum(path: Path, prefix: str, enum: EnumDescriptorProto) -> Iterator[tuple[Path, str]]:
    yield path, prefix + enum.name
    for index, value in enumerate(enum.value):
        yield (*path, _ENUM_VALUES, index), f"{prefix}{enum.name}.{value.name}"


def _fields(path: Path, prefix: str, fields: Iterable[FieldDescriptorProto]) -> Iterator[tuple[Path, str]]:
    for index, field in enumerate(fields):
        yield (*path, index), prefix + field.name
