import stat
import subprocess
import sys

import pytest

from deploy.local.errors import StackError
from deploy.local.home import Home, locked, open_home, write_secret


def test_a_new_home_is_closed_to_other_users(tmp_path):
    home = open_home(tmp_path / "deep" / "gaia")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert home.logs.is_dir()


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    open_home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_home_that_cannot_be_written_to_is_named_with_its_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"^GAIA_HOME: cannot write to .*/file/gaia: Not a directory; set it"):
        open_home(tmp_path / "file" / "gaia")


def test_a_second_supervisor_is_told_who_runs(tmp_path):
    home = open_home(tmp_path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, os, sys\n"
            "file = open(sys.argv[1], 'w')\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\n"
            "print(os.getpid(), file=file, flush=True)\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n",
            str(home.lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"locked\n"
        with (
            pytest.raises(StackError, match=f"Gaia runs there as pid {holder.pid}; stop it with `gaia down`"),
            locked(home),
        ):
            pass
        holder.stdin.close()
    with locked(home):  # the lock ended with its holder
        assert home.lock.read_text().strip().isdecimal()


def test_a_secret_is_its_owner_s_alone_and_replaced_as_a_whole(tmp_path):
    path = tmp_path / "secret"
    path.write_text("a much longer text")
    path.chmod(0o644)
    write_secret(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_home_is_absolute_wherever_it_is_opened_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_home(Home(tmp_path / ".gaia").path.relative_to(tmp_path)).path == tmp_path / ".gaia"
