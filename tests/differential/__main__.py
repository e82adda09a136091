"""Sends the vectors, and random requests, to Gaia's transcoder and to Envoy's, and lists where they disagree.

usage: python -m tests.differential [--generated N] [--show PATTERN]

Exit code 1 where a disagreement is not in disagreements.yaml, or one there has gone.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

import grpc

from edge.transcoding.app import Transcoder
from tests.differential.envoy import install, running_envoy
from tests.differential.generated import generated
from tests.differential.known import Known, load
from tests.differential.outcomes import Outcome, Request, observe
from tests.support.asgi_server import running_asgi
from tests.support.scripted import running_backend
from tests.support.vectors import load_vectors, services

CONTRACTS = {"routes.proto": "routes.v1.Routes", "fields.proto": "fields.v1.Fields", "calls.proto": "calls.v1.Calls"}
"""The contracts, and of each the service whose rules both transcoders take."""
ASPECTS_OF_OPTIONS = ("options", "changes", "rules", "limits", "cross_origin")
GENERATED = 400


async def main(count: int, show: str) -> int:
    """Compare, print, and return the exit code."""
    program = install()
    known = load()
    agreed, unknown = 0, []
    for contract, service in CONTRACTS.items():
        every = services(contract)
        async with (
            running_backend(every) as backend,
            grpc.aio.insecure_channel(backend.address) as channel,
            running_asgi(Transcoder(every, channel), proxy_headers=False) as ours,
            running_envoy(program, every[0].file, [service], backend.port) as theirs,
        ):
            for request in [*_of_vectors(contract), *generated(contract, count)]:
                mine, other = [await observe(url, backend, request) for url in (ours, theirs)]
                differences = mine.differences(other)
                if show and fnmatchcase(request.name, show):
                    _print(request, differences, mine, other)
                if not differences:
                    agreed += 1
                elif not any(one.covers(request.name, differences) for one in known):
                    unknown.append(request.name)
                    _print(request, differences, mine, other)
    return _conclude(agreed, known, unknown)


def _of_vectors(contract: str) -> Iterator[Request]:
    """Yield the strict profile's vectors that need nothing which Envoy has not, or is not asked for here."""
    for vector in load_vectors():
        if vector.contract != contract or vector.profile != "strict" or vector.get("envoy") is False:
            continue
        if any(vector.get(key) for key in ASPECTS_OF_OPTIONS) or "Extended." in str(vector.get("method")):
            continue
        method, target = vector.method_and_target
        name = f"{vector.row}: {vector.name}"
        yield Request(name, method, target, vector.headers, vector.body, vector.script())


def _print(request: Request, differences: tuple[str, ...], ours: Outcome, theirs: Outcome) -> None:
    print(f"{request.name}: {', '.join(differences) or 'nothing'} differs")
    print(f"    {request.method} {request.target[:200]} {request.body[:200]!r}")
    print(f"    ours:  {ours}")
    print(f"    Envoy: {theirs}")


def _conclude(agreed: int, known: list[Known], unknown: list[str]) -> int:
    print(f"\n{agreed} requests: the same outcome")
    for one in known:
        print(f"{one.met} requests: {', '.join(sorted(one.differs))} differ: {one.reason}")
    gone = sorted(pattern for one in known for pattern in one.unmet)
    for pattern in gone:
        print(f"no disagreement any more, take it out of the list: {pattern}")
    if unknown:
        print(f"{len(unknown)} requests with a disagreement that nobody has explained")
    return 1 if unknown or gone else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--generated", type=int, default=GENERATED, help="how many random requests for each contract")
    parser.add_argument("--show", default="", help="also print the outcomes of requests whose name matches")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.generated, arguments.show)))
