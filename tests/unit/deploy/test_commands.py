"""What all commands of `gaia` have in common."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from deploy.cli.main import app

ENDLESS = {"up", "proxy"}
"""What runs until it is stopped, and answers nothing."""
NDJSON = {"audit export", "users export"}
"""What answers JSON, line by line, and nothing else."""
RUNS_OTHERS = {"deploy"}
"""What only runs other commands, whose output passes."""
FOR_GOOD = {"keys revoke", "keys delete", "keys rotate", "keys import", "users deactivate", "users erase"}
"""What cannot be undone."""


def commands() -> Iterator[tuple[str, Any]]:
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            waiting += [(f"{path} {name}".strip(), one) for name, one in inner.items()]


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


COMMANDS = dict(commands())


def test_every_command_is_told_apart_by_what_it_answers() -> None:
    assert COMMANDS.keys() >= ENDLESS | NDJSON | RUNS_OTHERS | FOR_GOOD


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - ENDLESS - NDJSON - RUNS_OTHERS))
def test_every_command_that_answers_does_so_for_programs_too(name: str) -> None:
    assert "--json" in options(COMMANDS[name])


def test_what_cannot_be_undone_is_asked_first_and_nothing_else_is() -> None:
    assert {name for name, command in COMMANDS.items() if "--yes" in options(command)} == FOR_GOOD
