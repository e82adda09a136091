"""The user that Postgres runs as. Postgres refuses to be root, so root lends it a user of its own."""

import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError

NAME = "pgserver"
"""The name that the wheel's own launcher uses too."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system."""

    name: str
    uid: int
    gid: int


def own_name() -> str:
    """Returns the name of the user that runs this. Raises StackError when there is only a number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise StackError(
            f"the embedded Postgres needs a user with a name, and user id {os.geteuid()} has none; "
            "set DATABASE_URL to use another Postgres"
        ) from error


def lent_account() -> Account | None:
    """Returns the user for Postgres when root asks, and None for everybody else, who run it themselves.

    Makes the user if need be. Raises StackError when that fails.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error.strerror
            raise StackError(
                f"Postgres does not run as root, and the user {NAME} cannot be made: {reason}; "
                "start as another user, or set DATABASE_URL to use another Postgres"
            ) from error
        entry = pwd.getpwnam(NAME)
    return Account(NAME, entry.pw_uid, entry.pw_gid)


def open_to_group(folder: Path, account: Account) -> None:
    """Lets the account pass through a folder of root's that is closed to everybody else."""
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0:
        os.chown(folder, -1, account.gid)
        folder.chmod(0o710)


def let_through(path: Path, account: Account, note: Callable[[str], None]) -> None:
    """Lets the account pass through the folders above the path, without letting anybody list them."""
    for folder in path.parents:
        status = folder.stat()
        if not _may(account, status, stat.S_IXUSR):
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            note(f"{folder} may now be passed through by other users (chmod o+x): {account.name} has to get to {path}")


def let_read(folder: Path, account: Account, note: Callable[[str], None]) -> None:
    """Lets the account read and run what is in the folder, as an ordinary installation would."""
    let_through(folder, account, note)
    status = folder.stat()
    if _may(account, status, stat.S_IXUSR) and _may(account, status, stat.S_IRUSR):
        return  # one umask made the whole tree
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
    note(f"{folder} may now be read by other users: {account.name} runs it")


def _may(account: Account, status: os.stat_result, owner_bit: int) -> bool:
    """Whether the mode grants a right, given as the owner's bit, to the account."""
    if status.st_uid == account.uid:
        shift = 0
    elif status.st_gid == account.gid:
        shift = 3
    else:
        shift = 6
    return bool(status.st_mode & (owner_bit >> shift))
