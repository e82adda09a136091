"""`python -m deploy.check`: validates the files that no test can run here: image, Compose, Fly, scripts.

Every file is read by its own validator, and held to the code: modules that it starts, variables that it sets, ports.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.check_compose import compose_faults
from deploy.check_fly import fly_faults, release_faults
from deploy.cli.release import SERVICES

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deploy" / "compose"
FLY = ROOT / "deploy" / "fly"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def validators() -> Iterator[Sequence[str]]:
    """Yields the commands of the validators that others wrote."""
    scripts = [*sorted((ROOT / "deploy" / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
    yield ["check-jsonschema", "--quiet", "--builtin-schema", "vendor.compose-spec", str(COMPOSE / "compose.yaml")]
    yield ["hadolint", "--failure-threshold", "info", str(DOCKERFILE)]
    yield ["shellcheck", "--severity=style", *map(str, scripts)]


def faults() -> list[str]:
    """Returns what is wrong with the files, by our own rules; empty when nothing is."""
    found = compose_faults((COMPOSE / "compose.yaml").read_text(), (COMPOSE / "env.example").read_text())
    for service in SERVICES:
        found += fly_faults(service, (FLY / f"{service}.toml").read_text())
    return found + release_faults()


def main() -> int:
    """Prints every fault and returns the exit code."""
    programs = Path(sysconfig.get_path("scripts"))
    failed = False
    for name, *arguments in validators():
        failed |= subprocess.run([str(programs / name), *arguments], cwd=ROOT, check=False).returncode != 0
    found = faults()
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if failed or found else 0


if __name__ == "__main__":
    sys.exit(main())
