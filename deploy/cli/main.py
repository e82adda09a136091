"""The `gaia` command: what it offers, and how it fails.

Each command imports what it needs when it runs, so that `gaia --help` and the small commands start at once.
"""

import os
import sys

import typer

from deploy.cli import (
    accounts,
    audit,
    certificates,
    config,
    database,
    keys_change,
    keys_end,
    keys_import,
    personal,
    platform,
    proxy,
    smoke,
    stack,
    usage,
    users_change,
)
from deploy.cli.output import fail
from deploy.local.errors import StackError

EXIT_FAILURE = 1
EXIT_SETTINGS = 2

app = typer.Typer(
    name="gaia",
    help="Runs and looks after Gaia, a self-hosted LLM platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.command("test")(smoke.run)
app.command("proxy")(proxy.proxy)
app.command("deploy")(platform.deploy)
app.add_typer(database.app)
accounts.users.command("update")(users_change.update)
accounts.users.command("deactivate")(users_change.deactivate)
accounts.users.command("export")(personal.export)
accounts.users.command("erase")(personal.erase)
app.add_typer(accounts.users)
accounts.keys.command("update")(keys_change.update)
accounts.keys.command("rotate")(keys_change.rotate)
accounts.keys.command("revoke")(keys_end.revoke)
accounts.keys.command("delete")(keys_end.delete)
accounts.keys.command("import")(keys_import.import_keys)
app.add_typer(accounts.keys)
app.add_typer(audit.app)
app.add_typer(usage.app)
app.add_typer(certificates.app)
app.add_typer(config.app)


def main() -> int:
    """Runs the command and returns its exit code; an error that the operator can mend is one line."""
    # Commands make children to run other programs, where gRPC's handlers of forks can only do harm.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        app()
    except StackError as error:
        return fail(str(error), EXIT_FAILURE)
    except Exception as error:
        # By name, since most commands never import what raises it.
        if type(error).__name__ in ("SettingsError", "MigrationError"):
            return fail(str(error), EXIT_SETTINGS)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
