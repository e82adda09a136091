import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from deploy.local.account import Account, let_read, let_through, open_to_group

SOMEBODY = Account("somebody", 54321, 54321)


@pytest.fixture
def folder():
    # Not below pytest's folders, which root's pytest keeps closed: everything above a test's folder is open here.
    path = Path(tempfile.mkdtemp(prefix="gaia-test-account-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_closed_folders_above_are_opened_for_passing_through_only_and_that_is_said(folder):
    inner = folder / "outer" / "inner"
    inner.mkdir(parents=True)
    for path in (inner, inner.parent):
        path.chmod(0o700)
    notes = []
    let_through(inner / "data", SOMEBODY, notes.append)
    assert (mode(inner.parent), mode(inner), mode(folder)) == (0o701, 0o701, 0o755)
    assert notes == [
        f"{path} may now be passed through by other users (chmod o+x): somebody has to get to {inner / 'data'}"
        for path in (inner, inner.parent)
    ]


def test_folders_that_are_open_are_left_alone(folder):
    let_through(folder / "data", SOMEBODY, pytest.fail)
    assert mode(folder) == 0o755


def test_programs_that_only_their_owner_could_run_become_readable_and_runnable_but_not_writable(folder):
    programs = folder / "install"
    programs.mkdir(mode=0o700)
    for name, bits in (("postgres", 0o700), ("catalogue", 0o600)):
        (programs / name).write_text("")
        (programs / name).chmod(bits)
    notes = []
    let_read(programs, SOMEBODY, notes.append)
    assert (mode(programs), mode(programs / "postgres"), mode(programs / "catalogue")) == (0o705, 0o705, 0o604)
    assert len(notes) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to a group it is not in")
def test_a_closed_home_is_opened_to_the_one_group_and_an_open_one_is_left_alone(folder):
    closed, shared = folder / "closed", folder / "shared"
    closed.mkdir(mode=0o700)
    shared.mkdir()
    shared.chmod(0o755)
    open_to_group(closed, SOMEBODY)
    open_to_group(shared, SOMEBODY)
    assert (mode(closed), closed.stat().st_gid) == (0o710, SOMEBODY.gid)
    assert (mode(shared), shared.stat().st_gid) == (0o755, 0)
