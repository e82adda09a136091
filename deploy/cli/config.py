"""`gaia config`: looking at `gaia.toml`, and having it read again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.options import AsJson

if TYPE_CHECKING:
    from shared.config_file import ConfigFile

EXIT_FAULTS = 2

app = typer.Typer(name="config", help="Checks, shows and reloads gaia.toml.", no_args_is_help=True)

File = Annotated[
    Path | None, typer.Argument(help="The file; default: GAIA_CONFIG, ./gaia.toml or the one in GAIA_HOME.")
]


@app.command("check")
def check(file: File = None, as_json: AsJson = False) -> None:
    """Names everything that is wrong with the file; exit code 2 when something is."""
    from deploy.cli.output import note, show_json
    from deploy.config import check_config

    read = _read(file)
    report = check_config(read)
    if as_json:
        faults = [{"line": fault.line, "key": fault.name, "message": fault.message} for fault in report.faults]
        show_json({"file": str(read.path), "ok": not faults, "faults": faults, "warnings": list(report.warnings)})
    else:
        for warning in report.warnings:
            note(f"warning: {warning}")
        for fault in report.faults:
            note(fault.told(read.path))
        if not report.faults:
            print(f"{read.path} is right.")
    if report.faults:
        raise typer.Exit(EXIT_FAULTS)


@app.command("show")
def show(as_json: AsJson = False) -> None:
    """Shows all settings as they hold, with where each comes from; secrets are masked."""
    import json

    from deploy.cli.output import show_json
    from deploy.config import effective_config
    from shared.config_file import ConfigFileError, config_for
    from shared.settings import SettingsError

    try:
        found = effective_config(config_for())
    except ConfigFileError as error:
        raise SettingsError(str(error)) from error
    if as_json:
        show_json([{"key": one.key, "value": one.value, "source": one.source} for one in found])
        return
    for one in found:
        # A table would be as wide as the longest list of models.
        print(f"{one.key} = {'-' if one.value is None else json.dumps(one.value)}  # {one.source}")


@app.command("reload")
def reload(as_json: AsJson = False) -> None:
    """Has the platform that runs in GAIA_HOME read the file again, if nothing is wrong with it.

    Providers, models, prices and budgets are taken over without a restart; everything else is at the next start.
    """
    import os
    import signal

    from deploy.cli.output import note, show_json
    from deploy.config import check_config
    from deploy.local.errors import StackError
    from deploy.local.home import Home
    from deploy.local.settings import LocalSettings
    from deploy.local.state import read_state
    from shared.config_file import find_config, read_config
    from shared.settings import load

    home = Home(load(LocalSettings).home.expanduser().absolute())
    path = find_config(os.environ)
    faults = check_config(read_config(path)).faults if path else ()
    for fault in faults:
        note(fault.told(path))
    if faults:
        raise typer.Exit(EXIT_FAULTS)
    state = read_state(home)
    supervisor = state.supervisor() if state else None
    if supervisor is None:
        raise StackError(f"Gaia does not run in {home.path}")
    supervisor.send_signal(signal.SIGHUP)
    if as_json:
        show_json({"logs": [str(home.logs / f"{name}.log") for name in ("chat", "asset")]})
    else:
        print(f"Gaia reads its settings again; chat.log and asset.log in {home.logs} tell what came of it.")


def _read(path: Path | None) -> "ConfigFile":
    import os

    from shared.config_file import NAME, ConfigFileError, find_config, read_config
    from shared.settings import SettingsError

    found = path.absolute() if path else find_config(os.environ)
    if found is None:
        raise SettingsError(f"there is no {NAME} here, nor in GAIA_HOME; name one, or set GAIA_CONFIG")
    try:
        return read_config(found)
    except ConfigFileError as error:
        raise SettingsError(str(error)) from error
