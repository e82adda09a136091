"""What the operator sees: the table of what is where, and reports of crashes."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table

from deploy.local.supervisor import Crash

HEALTHY = "SERVING"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    name: str
    address: str
    health: str


class ConsoleReporter:
    """Tells the terminal. A terminal that has gone away is no reason to fail."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._crashed: set[str] = set()

    def ready(self, name: str, seconds: float) -> None:
        """Says so only when the process had crashed before; the table says it at the start."""
        if name in self._crashed:
            self._crashed.discard(name)
            self.say(f"{name} serves again after {seconds:.1f} s", style="green")

    def crashed(self, crash: Crash) -> None:
        """Names the process, how it ended, and what it said last."""
        self._crashed.add(crash.name)
        self.say(f"{crash.name} {crash.how}; it starts again in {crash.restart_in:g} s", style="bold red")
        if crash.tail:
            self.say(f"{short(crash.log)} ends with:")
            self.say("\n".join(f"  {line}" for line in crash.tail), style="dim")

    def note(self, text: str) -> None:
        """Passes it on."""
        self.say(f"note: {text}", style="yellow")

    def say(self, text: str, style: str | None = None) -> None:
        """Prints a text as it is, on lines as long as they are."""
        with self._unread():
            self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Prints a table or the like."""
        with self._unread():
            self._console.print(what)

    @contextlib.contextmanager
    def _unread(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._console.quiet = True  # nobody reads any more; the logs tell it all


def table(rows: Sequence[Row]) -> Table:
    """Lays out what is where and how it is."""
    result = Table("what", "address", "health", title="Gaia", title_justify="left")
    for row in rows:
        result.add_row(row.name, row.address, row.health, style=None if row.health == HEALTHY else "red")
    return result


def first_request(edge: str, key_file: Path, certificate: Path | None = None) -> str:
    """Returns a command that asks the edge something with the developer's key; it trusts the edge's own certificate."""
    trusted = "" if certificate is None else f"--cacert {shlex.quote(str(certificate))} "
    return f'curl {trusted}-H "X-API-Key: $(cat {shlex.quote(str(short(key_file)))})" {edge}/api/v0.2/providers'


def short(path: Path) -> Path:
    """Returns the path as seen from the current folder, if it is below."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
