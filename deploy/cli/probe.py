"""`python -m deploy.cli.probe URL`: the health check of a container; exit code 0 when the address serves."""

import asyncio
import sys

from deploy.local.probe import ProbeError, probe


def main(arguments: list[str]) -> int:
    """Asks once and says on standard error why the answer was no."""
    if len(arguments) != 1:
        print("usage: python -m deploy.cli.probe grpc://HOST:PORT | http://HOST:PORT/PATH", file=sys.stderr)
        return 2
    try:
        asyncio.run(probe(arguments[0]))
    except ProbeError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
