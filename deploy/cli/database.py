"""`gaia db`: preparing, migrating and looking at the database."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.options import AsJson

if TYPE_CHECKING:
    from deploy.cli.preparation import Prepared
    from deploy.local.settings import LocalSettings

app = typer.Typer(name="db", help="Prepares and migrates the database.", no_args_is_help=True)


@app.command("init")
def init(
    user: Annotated[str, typer.Option(help="Email address of the first administrator.")],
    env: Annotated[str, typer.Option(help="Environment that keys belong to: dev, staging, prod.")] = "dev",
    key_file: Annotated[
        Path | None, typer.Option(help="Write the new key to this file, mode 0600, instead of printing it.")
    ] = None,
    signing_keys_file: Annotated[
        Path | None, typer.Option(help="Also make this file of auth's signing keys, if it is missing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prepares the database that DATABASE_URL names: roles, schema, and an administrator with a key.

    DATABASE_URL is its owner's. Passwords of the services' roles come from GAIA_AUTH_DB_PASSWORD, GAIA_CHAT_DB_PASSWORD
    and GAIA_ASSET_DB_PASSWORD; those that are missing are made up and printed once. It may be run again: what is there
    stays.
    """
    from deploy.cli.output import note, show_json
    from deploy.cli.preparation import prepare, store_key, store_signing_keys
    from deploy.local.errors import StackError

    settings = _settings()
    url = _database_url(settings)
    if url is None:
        raise StackError("DATABASE_URL: set it to the owner's URL; `gaia up` prepares its own database")
    prepared: Prepared = asyncio.run(prepare(url, email=user, environment=env, passwords=settings.given_passwords()))
    if signing_keys_file is not None:
        store_signing_keys(signing_keys_file)
    told = prepared.key if key_file is None else None
    if as_json:
        show_json({"database_urls": dict(prepared.new_urls), "unchanged": list(prepared.unchanged), "api_key": told})
    else:
        for service, service_url in prepared.new_urls.items():
            print(f"DATABASE_URL of {service}: {service_url}")
    for service in prepared.unchanged:
        note(
            f"the role of {service} was there already; set GAIA_{service.upper()}_DB_PASSWORD to give it a new password"
        )
    if prepared.key is None:
        note(f"{user} has an administrator's key already; `gaia keys create` makes another one")
    elif key_file is None:
        if not as_json:
            print(f"API key of {user}, shown this once: {prepared.key}")
    else:
        store_key(key_file, prepared.key)


@app.command("migrate")
def migrate(as_json: AsJson = False) -> None:
    """Brings the schema to the newest revision; DATABASE_URL is the owner's, or the local stack runs."""
    from deploy.cli.output import show_json
    from deploy.migrations import runner

    url = owner_database_url()
    before = runner.status(url)
    runner.migrate(url)
    if as_json:
        show_json({"before": before.current, "now": before.head, "ran": list(before.pending)})
    else:
        print(f"ran {len(before.pending)} revisions; the schema is at {before.head}")


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Shows the schema's revision; exit code 1 when some are still to run."""
    from deploy.cli.output import show_json, show_rows
    from deploy.migrations import runner

    found = runner.status(owner_database_url())
    row = {"current": found.current, "newest": found.head, "pending": list(found.pending)}
    if as_json:
        show_json(row)
    else:
        show_rows([row], list(row))
    if found.pending:
        raise typer.Exit(1)


def _settings() -> "LocalSettings":
    from deploy.local.settings import LocalSettings
    from shared.settings import load

    return load(LocalSettings)


def _database_url(settings: "LocalSettings") -> str | None:
    return None if settings.database_url is None else settings.database_url.get_secret_value()


def owner_database_url() -> str:
    """Returns the owner's URL of the database: DATABASE_URL, else that of the local stack. Raises StackError."""
    from deploy.local.embedded import owner_url
    from deploy.local.errors import StackError
    from deploy.local.home import Home

    settings = _settings()
    url = _database_url(settings) or owner_url(Home(settings.home.expanduser().absolute()))
    if url is None:
        raise StackError("DATABASE_URL: set it to the owner's URL, or start the local stack with `gaia up`")
    return url
