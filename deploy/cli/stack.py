"""`gaia up`, `gaia down`, `gaia status`."""

import asyncio

import typer

from deploy.cli.options import AsJson

STOP_SECONDS = 60.0
"""The edge drains, then the services, then Postgres; each within 12 s."""


def up() -> None:
    """Runs the whole platform in the foreground, until Ctrl-C."""
    from rich.console import Console

    from deploy.local.run import run
    from deploy.local.settings import LocalSettings
    from shared.settings import load

    raise typer.Exit(asyncio.run(run(load(LocalSettings), Console())))


def down(as_json: AsJson = False) -> None:
    """Stops the platform that runs in GAIA_HOME."""
    from deploy.cli.output import show_json
    from deploy.local.home import Home
    from deploy.local.settings import LocalSettings
    from deploy.local.status import stop_running
    from shared.settings import load

    home = Home(load(LocalSettings).home.expanduser().absolute())
    stopped = stop_running(home, STOP_SECONDS)
    if as_json:
        show_json({"home": str(home.path), "stopped": stopped})
    elif stopped:
        print("Gaia has stopped.")
    else:
        print(f"Gaia does not run in {home.path}.")


def status(as_json: AsJson = False) -> None:
    """Shows what runs in GAIA_HOME and whether it serves; exit code 1 when something does not."""
    from rich.console import Console

    from deploy.cli.output import show_json
    from deploy.local.home import Home
    from deploy.local.settings import LocalSettings
    from deploy.local.status import look
    from deploy.local.view import HEALTHY, table
    from shared.settings import load

    rows = asyncio.run(look(Home(load(LocalSettings).home.expanduser().absolute())))
    if as_json:
        show_json([{"name": row.name, "address": row.address, "health": row.health} for row in rows])
    else:
        Console().print(table(rows))
    if any(row.health != HEALTHY for row in rows):
        raise typer.Exit(1)
