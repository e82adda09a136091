"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8666"

Url = Annotated[str, typer.Option(envvar="GAIA_URL", help="The edge.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="GAIA_API_KEY", help="API key; default: the developer's, for the stack on this machine."),
]
HomeFolder = Annotated[Path, typer.Option(envvar="GAIA_HOME", help="Folder of the local stack.")]
DEFAULT_HOME = Path(".gaia")
AsJson = Annotated[bool, typer.Option("--json", help="Print for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
