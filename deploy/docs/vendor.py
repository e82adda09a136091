"""Lays what the documentation page is made of into `edge/docs/static`, from the npm packages that the lock pins.

usage: python -m deploy.docs.vendor [--check]

npm checks every package against the hash in package-lock.json, and no install script of any package is run. With
--check nothing is written: exit code 1 says which committed files are not those of the lock.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import brotli  # type: ignore[import-untyped] # no stubs exist

HERE = Path(__file__).resolve().parent
STATIC = HERE.parents[1] / "edge" / "docs" / "static"
PACKAGE = "swagger-ui-dist"
COMPRESSED = ("swagger-ui-bundle.js", "swagger-ui.css")
"""Kept as Brotli, as which browsers get them: a fifth of the size."""
LICENSES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")


def install(folder: Path) -> Path:
    """Installs the locked packages below a folder; returns where the one that is wanted lies."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed to vendor the documentation page; install Node.js 20 or newer")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`npm ci` failed:\n{done.stdout}{done.stderr}")
    return folder / "node_modules" / PACKAGE


def write(package: Path) -> None:
    """Writes the files."""
    for name in COMPRESSED:
        (STATIC / f"{name}.br").write_bytes(brotli.compress((package / name).read_bytes(), quality=11))
    for name in LICENSES:
        (STATIC / license_name(name)).write_bytes((package / name).read_bytes())


def differences(package: Path) -> list[str]:
    """Names the committed files that are missing or other than the package's."""
    wanted = {f"{name}.br": package / name for name in COMPRESSED}
    wanted |= {license_name(name): package / name for name in LICENSES}
    return [name for name, source in wanted.items() if _content(STATIC / name) != source.read_bytes()]


def license_name(name: str) -> str:
    """Returns under which name a licence file is kept."""
    return name if name.startswith("swagger-ui") else f"swagger-ui.{name}.txt"


def _content(path: Path) -> bytes | None:
    if not path.exists():
        return None
    data = path.read_bytes()
    return bytes(brotli.decompress(data)) if path.suffix == ".br" else data


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the files are others")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = install(Path(folder))
        if not arguments.check:
            write(package)
        elif found := differences(package):
            raise SystemExit(f"edge/docs/static is not what the lock says: {', '.join(found)}")


if __name__ == "__main__":
    main()
