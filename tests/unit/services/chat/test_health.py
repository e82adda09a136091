"""Health out of calls."""

import datetime as dt

import pytest

from services.chat.health import WINDOW, WINDOW_SECONDS, HealthBoard, overall

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard([("a", "m")], lambda: NOW)


def test_nothing_is_known_before_the_first_call(board):
    health = board.of("a")
    assert (health.status, health.first_word_ms, health.error_rate, health.last_call) == ("unknown", None, None, None)
    assert board.reply_ms("a", "m") is None


@pytest.mark.parametrize(
    ("failures", "successes", "status"),
    [(0, 1, "healthy"), (1, 19, "healthy"), (1, 9, "degraded"), (1, 1, "unhealthy")],
)
def test_the_share_of_failures_decides(board, failures, successes, status):
    for _ in range(successes):
        board.succeeded("a", "m", 10, 20)
    for _ in range(failures):
        board.failed("a")
    assert board.of("a").status == status


def test_only_the_last_calls_count(board):
    for _ in range(WINDOW):
        board.failed("a")
    for _ in range(WINDOW):
        board.succeeded("a", "m", 10, 20)
    assert board.of("a").error_rate == 0


def test_what_is_long_past_does_not_count_once_there_is_newer():
    times = iter([NOW, NOW, NOW + dt.timedelta(seconds=WINDOW_SECONDS + 1)])
    board = HealthBoard([("a", "m")], lambda: next(times))
    board.failed("a")
    board.failed("a")
    assert board.of("a").status == "unhealthy"
    board.succeeded("a", "m", 10, 20)
    assert board.of("a").error_rate == 0


def test_a_probe_is_a_call_without_a_first_word(board):
    board.probed("a", answered=True)
    assert (board.of("a").status, board.of("a").first_word_ms, board.of("a").last_call) == ("healthy", None, NOW)
    board.probed("a", answered=False)
    assert board.of("a").error_rate == 0.5
    assert board.reply_ms("a", "m") is None


def test_means_are_of_what_was_measured(board):
    board.succeeded("a", "m", 10, 100)
    board.succeeded("a", "m", 30, 300)
    board.failed("a")
    assert board.of("a").first_word_ms == 20
    assert (board.first_word_ms("a", "m"), board.reply_ms("a", "m")) == (20, 200)
    assert board.of("a").last_call == NOW


def test_a_model_outside_of_the_catalogue_is_not_kept(board):
    board.succeeded("a", "forced", 1, 1)
    assert board.reply_ms("a", "forced") is None
    assert board.of("a").status == "healthy"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["unhealthy", "unknown"], "healthy"),
        (["degraded", "healthy"], "healthy"),
        (["degraded", "unhealthy"], "degraded"),
        (["unhealthy"], "unhealthy"),
        ([], "unhealthy"),
    ],
)
def test_the_best_of_all_speaks_for_all(statuses, expected):
    assert overall(statuses) == expected
