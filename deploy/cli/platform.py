"""`gaia deploy`: a release to Fly."""

from typing import Annotated

import typer


def deploy(
    env: Annotated[str, typer.Option(help="Environment: dev, staging or prod.")],
    services: Annotated[str, typer.Option(help="`all`, or names with commas between: auth,chat,asset,edge.")] = "all",
    dry_run: Annotated[bool, typer.Option(help="Print the commands and run none.")] = False,
    migrate: Annotated[bool, typer.Option(help="Migrate first; DATABASE_URL is the owner's.")] = True,
) -> None:
    """Migrates the database and releases services to Fly, those first that others call.

    The old release goes on running while the schema is new already: migrations are made for that.
    """
    from deploy.cli.release import plan, run_plan

    commands = plan(env, services, migrate=migrate)
    if dry_run:
        for command in commands:
            print(command)
        return
    run_plan(commands, env, migrate=migrate)
