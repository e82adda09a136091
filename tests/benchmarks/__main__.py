"""`python -m tests.benchmarks [NAME …]`: measures and prints; exit code 1 when a figure is missed."""

import importlib
import sys

from tests.benchmarks.figures import print_figures

NAMES = ("foundation", "edge", "identity", "chat")


def main(names: list[str]) -> int:
    """Runs the named modules of this package, all of them by default; each has `measure() -> list[Figure]`."""
    if unknown := set(names) - set(NAMES):
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    results = [
        print_figures(name, importlib.import_module(f"tests.benchmarks.{name}").measure()) for name in names or NAMES
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
