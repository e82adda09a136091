"""The file of settings: where it is looked for, reading it, and which line says what."""

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

NAME = "gaia.toml"
VARIABLE = "GAIA_CONFIG"
HOME_VARIABLE = "GAIA_HOME"

MAX_BYTES = 1024 * 1024
MAX_EXPONENT = 30
"""Beyond it, a number is a slip, and would take all memory when it is written out."""

Key = tuple[str | int, ...]
"""The way to a value: names of tables, and numbers in lists from 0."""

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(?P<brackets>\[\[?)\s*(?P<key>{_DOTTED})\s*\]")
_VALUE = re.compile(rf"\s*(?P<key>{_DOTTED})\s*=")


class ConfigFileError(Exception):
    """The file cannot be read; the message is one line that names it, and the line where there is one."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What stands in the file, and the lines of its keys. Fractions are Decimal."""

    path: Path
    document: Mapping[str, Any]
    lines: Mapping[Key, int]

    def line(self, key: Key) -> int | None:
        """Returns the line of a key, or of the nearest table around it; None for a key that stands nowhere."""
        return next((self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines), None)

    def get(self, key: Key) -> Any:
        """Returns the value of a key, None where there is none: TOML knows no null."""
        value: Any = self.document
        for name in key:
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        return value


def find_config(environment: Mapping[str, str]) -> Path | None:
    """Returns the file that GAIA_CONFIG names, or else `gaia.toml` here or in GAIA_HOME; None where there is none."""
    if named := environment.get(VARIABLE):
        return Path(named).expanduser().absolute()
    home = Path(environment.get(HOME_VARIABLE) or ".gaia").expanduser()
    places = (Path(NAME).absolute(), (home / NAME).absolute())
    return next((place for place in places if place.is_file()), None)


def read_config(path: Path) -> ConfigFile:
    """Reads the file. Raises ConfigFileError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigFileError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigFileError(f"{path}: is longer than {MAX_BYTES} bytes")
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        text = raw.removeprefix(codecs.BOM_UTF8).decode()
        document = tomllib.loads(text, parse_float=_fraction)
    except UnicodeDecodeError as error:
        raise ConfigFileError(f"{path}: must be UTF-8, which byte {error.start} is not") from None
    except (ValueError, RecursionError) as error:
        # The message tells the place and never the text, which may hold a key.
        raise ConfigFileError(f"{path}: is no TOML: {str(error) or 'it cannot be read'}") from None
    lines: dict[Key, int] = {}
    for key, number in _lines(text):
        lines.setdefault(key, number)
    return ConfigFile(path, document, lines)


def config_for(environment: Mapping[str, str] = os.environ) -> ConfigFile | None:
    """Reads the file of this process, None where there is none. Raises ConfigFileError."""
    path = find_config(environment)
    return None if path is None else read_config(path)


def key_text(key: Key) -> str:
    """Writes a key as in the file: `providers.compatible[0].base_url`."""
    text = ""
    for name in key:
        if isinstance(name, int):
            text += f"[{name}]"
        else:
            plain = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
            text += f".{plain}" if text else plain
    return text


def _fraction(text: str) -> Decimal:
    number = Decimal(text)
    if number.is_finite() and abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number is beyond 1e{MAX_EXPONENT} or below 1e-{MAX_EXPONENT}")
    return number


def _lines(text: str) -> Iterator[tuple[Key, int]]:
    """Yields each key that stands at the beginning of a line of a well-formed document, with its number from 1."""
    table: Key = ()
    latest: dict[Key, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            key = _split(header["key"])
            table = ()
            for end in range(1, len(key) + 1):
                table = (*table, key[end - 1])
                if end == len(key) and header["brackets"] == "[[":
                    latest[table] = latest.get(table, -1) + 1
                if table in latest:
                    table = (*table, latest[table])
                yield table, number
        elif value := _VALUE.match(line):
            yield (*table, *_split(value["key"])), number


def _split(dotted: str) -> Key:
    # Read by TOML's own reader, since names may be quoted.
    found: Any = tomllib.loads(f"{dotted} = 0")
    names: list[str] = []
    while isinstance(found, dict):
        [(name, found)] = found.items()
        names.append(name)
    return tuple(names)
