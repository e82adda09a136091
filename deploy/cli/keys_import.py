"""`gaia keys import`: keys of another platform, by their SHA-256."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.options import AsJson, Yes


def import_keys(
    file: Annotated[
        Path,
        typer.Option(
            "--csv",
            help="CSV with the columns key_hash and email, and as needed name, permissions or scopes, is_active, "
            "expires_at, prefix, last_four.",
        ),
    ],
    create_users: Annotated[bool, typer.Option("--create-users", help="Create users who are not there yet.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try everything and keep nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Imports keys by their SHA-256, all of them or none; whoever has such a key goes on using it.

    DATABASE_URL is the owner's, or the local stack runs. Keys whose hash is known already stay as they are.
    """
    from dataclasses import asdict

    import asyncpg

    from deploy.cli.database import owner_database_url
    from deploy.cli.output import show_json
    from deploy.local.errors import StackError
    from services.auth import importing_postgres
    from services.auth.importing import read_keys
    from shared.errors import GaiaError

    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            keys = read_keys(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"--csv: cannot read {file}: {error}") from error
    except GaiaError as error:
        raise StackError(f"--csv: {error}") from error
    if not (yes or dry_run):
        typer.confirm(f"Import {len(keys)} keys?", abort=True)
    url = owner_database_url()

    async def run() -> importing_postgres.Imported:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await importing_postgres.import_keys(connection, keys, create_users=create_users, dry_run=dry_run)
        finally:
            await connection.close()

    try:
        imported = asyncio.run(run())
    except GaiaError as error:
        raise StackError(f"{error}; --create-users creates them") from error
    except (OSError, asyncpg.PostgresError) as error:
        raise StackError(f"DATABASE_URL: {type(error).__name__}: {error}") from error
    if as_json:
        show_json(asdict(imported))
        return
    done = "would import" if dry_run else "imported"
    print(f"{done} {imported.keys} keys and {imported.users} users; {imported.known} keys were there already")
