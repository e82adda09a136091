"""A measured figure beside what it must reach."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A measurement in `unit`; `limit` is what it must not exceed, or not fall below where `at_least`."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept; a figure without one always holds."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def print_figures(title: str, figures: Iterable[Figure]) -> bool:
    """Prints a table and returns whether every figure holds."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "measured", "must reach", ""):
        table.add_column(column, justify="right" if column in ("measured", "must reach") else "left")
    good = True
    for figure in figures:
        limit = "" if figure.limit is None else f"{'≥' if figure.at_least else '≤'} {figure.limit:,g} {figure.unit}"
        verdict = "" if figure.limit is None else ("ok" if figure.holds else "MISSED")
        table.add_row(figure.name, f"{figure.value:,.2f} {figure.unit}", limit, verdict)
        good = good and figure.holds
    Console(width=120).print(table)
    return good
