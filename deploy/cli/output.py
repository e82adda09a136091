"""Printing for people and for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_WIDEST = 1000
"""Columns; ids and scopes must come out whole, whatever the terminal's width."""


def fail(message: str, code: int) -> int:
    """Prints an error as one line and returns the exit code."""
    print(f"gaia: {message}", file=sys.stderr)
    return code


def note(message: str) -> None:
    """Prints something that is not the result, out of the way of whoever reads that."""
    print(f"gaia: {message}", file=sys.stderr)


def show_json(value: Any) -> None:
    """Prints a value for programs."""
    print(json.dumps(value, indent=2))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Prints rows as a table; wider than the screen rather than with an id cut in two."""
    from rich.console import Console  # heavy, and of no use to who prints JSON
    from rich.measure import Measurement
    from rich.table import Column, Table

    table = Table(*(Column(name, no_wrap=True) for name in columns))
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    console = Console()
    wide = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)
