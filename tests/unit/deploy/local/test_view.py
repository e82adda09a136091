import io
from pathlib import Path

from rich.console import Console

from deploy.local.supervisor import Crash
from deploy.local.view import ConsoleReporter, Row, first_request, table


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


def reporter():
    console = Console(file=io.StringIO(), width=40)
    return ConsoleReporter(console), console.file


def crash(**changes):
    known = {
        "name": "chat",
        "how": "exited with code 1",
        "tail": ["[bold]last[/bold] words"],
        "log": Path("/l/chat.log"),
    }
    return Crash(**known, restart_in=2.0, **changes)


def test_a_crash_is_told_with_name_end_wait_and_the_log_as_it_is():
    told, file = reporter()
    told.crashed(crash())
    assert file.getvalue() == (
        "chat exited with code 1; it starts again in 2 s\n/l/chat.log ends with:\n  [bold]last[/bold] words\n"
    )


def test_serving_is_told_only_after_a_crash():
    told, file = reporter()
    told.ready("chat", 1.0)
    assert file.getvalue() == ""
    told.crashed(crash())
    told.ready("chat", 1.25)
    assert file.getvalue().endswith("chat serves again after 1.2 s\n")


def test_a_terminal_that_has_gone_away_is_no_reason_to_fail():
    told = ConsoleReporter(Console(file=Gone()))
    told.note("one")
    told.crashed(crash())
    told.show(table([Row("edge", "http://127.0.0.1:8666", "SERVING")]))


def test_the_first_request_can_be_pasted_whatever_the_folder_is_called():
    line = first_request("http://127.0.0.1:8666", Path("/my home/dev-api-key"))
    assert line == """curl -H "X-API-Key: $(cat '/my home/dev-api-key')" http://127.0.0.1:8666/api/v0.2/providers"""
