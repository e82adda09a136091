"""The commands of a release to Fly."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from deploy.local.errors import StackError

ENVIRONMENTS = ("dev", "staging", "prod")
SERVICES = ("auth", "chat", "asset", "edge")
"""In the order of releasing: what is called before what calls it."""
FOLDER = Path("deploy/fly")
PORTS: Mapping[str, int] = MappingProxyType({"auth": 8001, "asset": 8002, "chat": 8003})
CALLS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "auth": (),
        "chat": ("GAIA_AUTH_TARGET",),
        "asset": ("GAIA_AUTH_TARGET",),
        "edge": ("GAIA_AUTH_TARGET", "GAIA_CHAT_TARGET", "GAIA_ASSET_TARGET"),
    }
)
"""Variables with the addresses of what a service calls."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command; as text it can be pasted into a shell."""

    words: Sequence[str]

    def __str__(self) -> str:
        return shlex.join(self.words)


def app_name(service: str, environment: str) -> str:
    """Names a service's app."""
    return f"gaia-{service}-{environment}"


def database_name(environment: str) -> str:
    """Names an environment's Postgres."""
    return f"gaia-db-{environment}"


def targets(environment: str) -> dict[str, str]:
    """Returns the services' internal addresses, by variable; `dns:///` spreads calls over all machines of an app."""
    return {
        f"GAIA_{service.upper()}_TARGET": f"dns:///{app_name(service, environment)}.internal:{port}"
        for service, port in PORTS.items()
    }


def plan(environment: str, services: str, *, migrate: bool) -> list[Command]:
    """Returns the commands of a release. Raises StackError for an environment or a service that there is not."""
    if environment not in ENVIRONMENTS:
        raise StackError(f"--env: there is no {environment!r}; it must be one of {', '.join(ENVIRONMENTS)}")
    names = SERVICES if services == "all" else tuple(name.strip() for name in services.split(","))
    if unknown := sorted(set(names) - set(SERVICES)):
        raise StackError(f"--services: there is no {unknown[0]!r}; it must be all, or some of {','.join(SERVICES)}")
    commands = [Command(("gaia", "db", "migrate"))] if migrate else []
    return commands + [_release(name, environment) for name in SERVICES if name in names]


def run_plan(commands: Sequence[Command], environment: str, *, migrate: bool) -> None:
    """Runs the commands of an environment one after the other, up to the first that fails. Raises StackError."""
    if not FOLDER.is_dir():
        raise StackError(f"{FOLDER} is not here; run this from the project's root")
    if shutil.which("fly") is None:
        raise StackError("fly is not installed; it is Fly's command line, flyctl")
    if migrate and not os.environ.get("DATABASE_URL"):
        raise StackError(
            "DATABASE_URL: set it to the owner's URL, reachable through "
            f"`fly proxy 15432:5432 --app {database_name(environment)}`, or say --no-migrate"
        )
    for command in commands:
        print(f"+ {command}", file=sys.stderr, flush=True)
        code = subprocess.run(command.words, check=False).returncode
        if code != 0:
            raise StackError(f"`{command}` failed with exit code {code}; nothing after it was run")


def _release(service: str, environment: str) -> Command:
    called = targets(environment)
    wanted = CALLS[service]
    variables = {"GAIA_ENV": environment, **{name: called[name] for name in wanted}}
    words = [
        "fly",
        "deploy",
        ".",
        "--config",
        str(FOLDER / f"{service}.toml"),
        "--dockerfile",
        "deploy/Dockerfile",
        "--app",
        app_name(service, environment),
    ]
    for name, value in variables.items():
        words += ["--env", f"{name}={value}"]
    return Command(words)
