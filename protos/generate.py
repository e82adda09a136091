"""Generates, lints and compares everything that follows from the contracts.

usage: python protos/generate.py [--check] [--against REF]

Without options: regenerate `protos/stubs` and `protos/ACCESS.md`, lint, and refuse changes that break clients of the
git revision REF (default `main`; skipped where the revision has no contracts). With --check nothing is written: both
are generated elsewhere and compared with the committed ones.
Exit code 1 says what is wrong; the tools' own messages stand above it.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS / "stubs"
ACCESS = PROTOS / "ACCESS.md"
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
SCRIPTS = Path(sysconfig.get_path("scripts"))


def protoc(root: Path, *options: str) -> None:
    """Runs protoc over every contract below `root`."""
    files = sorted(str(path.relative_to(root)) for path in (root / "gaia").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{SITE_PACKAGES}", *options, *files]
    run(command)


def generate(target: Path) -> None:
    """Writes messages, gRPC classes, type stubs and a descriptor set with comments of all contracts below `target`."""
    (target / "gaia").mkdir(parents=True, exist_ok=True)
    plugins = [f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{name}_out={target}" for name in ("python", "grpc_python")]
    outputs += [f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"]
    # Generated modules have no comments; the OpenAPI document takes them from here.
    outputs += ["--include_source_info", f"--descriptor_set_out={target / 'gaia' / 'descriptors.binpb'}"]
    protoc(PROTOS, *plugins, *outputs)


def image(root: Path, target: Path) -> Path:
    """Writes a self-contained descriptor set, with comments, of the contracts below `root`."""
    protoc(root, "--include_imports", "--include_source_info", f"--descriptor_set_out={target}")
    return target


def access_table(image_file: Path, stubs: Path) -> str:
    """Returns who may call what, as Markdown."""
    command = [sys.executable, str(PROTOS / "access.py"), str(image_file), str(stubs)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own script


def differences(left: Path, right: Path) -> list[str]:
    """Names the generated files that exist on one side only or differ."""

    def names(root: Path) -> set[str]:
        files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(root)) for path in files}

    both = names(left) & names(right)
    _, different, unreadable = filecmp.cmpfiles(left, right, sorted(both), shallow=False)
    return sorted((names(left) ^ names(right)) | set(different) | set(unreadable))


def contracts_at(revision: str, target: Path) -> Path | None:
    """Lays out the contracts of a git revision below `target`; None where it has none."""
    listed = subprocess.run(  # noqa: S603 - the revision is the developer's own argument
        ["git", "ls-tree", "-r", "--name-only", revision, "--", "gaia"],  # noqa: S607 - git from PATH, as everywhere
        cwd=PROTOS, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = [name for name in listed.stdout.split() if name.endswith(".proto")]
    for name in names:
        shown = subprocess.run(["git", "show", f"{revision}:./{name}"], cwd=PROTOS, capture_output=True, check=True)  # noqa: S603, S607
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shown.stdout)
    return target if names else None


def run(command: Sequence[str]) -> None:
    """Runs a command, and ends this one with its exit code when it fails."""
    code = subprocess.run(command, cwd=PROTOS, check=False).returncode  # noqa: S603 - fixed tools
    if code:
        raise SystemExit(code)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the stubs differ")
    parser.add_argument("--against", default="main", help="git revision whose clients must keep working")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        buf, config = str(SCRIPTS / "buf"), str(PROTOS / "buf.yaml")
        now = image(PROTOS, work / "now.binpb")
        run([buf, "lint", str(now), "--config", config])
        if before := contracts_at(arguments.against, work / "before"):
            then = image(before, work / "then.binpb")
            run([buf, "breaking", str(now), "--against", str(then), "--config", config])
        generate(work / "stubs")
        access = access_table(now, work / "stubs")
        if arguments.check:
            if not ACCESS.exists() or ACCESS.read_text() != access:
                raise SystemExit("protos/ACCESS.md differs from the contracts, run `make protos`")
            if drift := differences(work / "stubs", STUBS):
                raise SystemExit(f"protos/stubs differs from the contracts, run `make protos`: {', '.join(drift)}")
        else:
            shutil.rmtree(STUBS, ignore_errors=True)
            shutil.copytree(work / "stubs", STUBS)
            ACCESS.write_text(access)


if __name__ == "__main__":
    main()
