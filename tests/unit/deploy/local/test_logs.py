import os

import pytest

from deploy.local.logs import ProcessLog


@pytest.fixture
def log(tmp_path):
    return ProcessLog(tmp_path / "chat.log", limit=100)


def write(log, text):
    descriptor = log.open()
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_log_is_readable_by_its_owner_only(log):
    write(log, "line\n")
    assert log.path.stat().st_mode & 0o077 == 0


def test_rotation_keeps_the_log_before(log, tmp_path):
    write(log, "old\n")
    log.rotate()
    write(log, "new\n")
    assert log.path.read_text() == "new\n"
    assert (tmp_path / "chat.log.1").read_text() == "old\n"


def test_a_log_beyond_its_limit_is_moved_aside_while_the_process_keeps_writing(log, tmp_path):
    descriptor = log.open()
    os.write(descriptor, b"x" * 101)
    log.trim()
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert log.path.read_text() == "after\n"
    assert (tmp_path / "chat.log.1").read_text() == "x" * 101


def test_a_log_within_its_limit_is_left_alone(log, tmp_path):
    write(log, "x" * 100)
    log.trim()
    assert log.size() == 100
    assert not (tmp_path / "chat.log.1").exists()


def test_the_tail_is_the_last_lines_after_the_given_place(log):
    write(log, "before\n")
    start = log.size()
    write(log, "".join(f"{number}\n" for number in range(50)))
    assert log.tail(start) == [str(number) for number in range(30, 50)]


def test_the_tail_after_a_trim_begins_with_the_new_log(log):
    write(log, "x" * 200)
    start = log.size()
    log.trim()
    write(log, "new\n")
    assert log.tail(start) == ["new"]
