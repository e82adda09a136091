"""The folder that holds everything of a local installation: data, logs, secrets, and who runs it."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError


@dataclass(frozen=True, slots=True)
class Home:
    """Places below `GAIA_HOME`; the path is absolute."""

    path: Path

    @property
    def postgres(self) -> Path:
        """Data of the embedded Postgres."""
        return self.path / "postgres"

    @property
    def postgres_access(self) -> Path:
        """Who may log in to the embedded Postgres; outside of its data, so that it cannot change that itself."""
        return self.path / "postgres-access"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def assets(self) -> Path:
        """Bytes of assets, unless `GAIA_ASSET_STORE` names another store."""
        return self.path / "assets"

    @property
    def call_journal(self) -> Path:
        """Calls to models that are under way."""
        return self.path / "calls"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it runs; contains its pid."""
        return self.path / "lock"

    @property
    def state(self) -> Path:
        """What runs; see `deploy.local.state`."""
        return self.path / "state.json"

    @property
    def dev_api_key(self) -> Path:
        """The key of dev@gaia.local."""
        return self.path / "dev-api-key"

    @property
    def signing_keys(self) -> Path:
        """Seeds that auth signs identities with."""
        return self.path / "signing-keys"

    @property
    def database_passwords(self) -> Path:
        """Passwords of the roles that were made on external database servers."""
        return self.path / "database-passwords.json"


def open_home(path: Path) -> Home:
    """Makes the folder, closed to other users, if it is missing. Raises StackError when it cannot be written to."""
    home = Home(path.expanduser().absolute())
    try:
        if not home.path.exists():
            home.path.mkdir(mode=0o700, parents=True)
        for folder in (home.logs, home.assets):
            folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=home.path):
            pass
    except OSError as error:
        raise StackError(
            f"GAIA_HOME: cannot write to {home.path}: {error.strerror}; set it to another folder"
        ) from error
    return home


@contextlib.contextmanager
def locked(home: Home) -> Iterator[None]:
    """Keeps a second supervisor out while the block runs. Raises StackError when there is one.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            raise StackError(
                f"GAIA_HOME: {home.path} is in use: Gaia runs there{f' as pid {holder}' if holder else ''}; "
                "stop it with `gaia down`, or set another folder"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def write_secret(path: Path, text: str) -> None:
    """Replaces a file as a whole, readable by its owner only, and safe on disk when this returns."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
