"""Reading `gaia.rest.v1.rules` from the contracts: which method needs which scope."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gaia.rest.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from shared.identity.principal import SCOPES


class UndeclaredAccess(Exception):
    """Methods do not say who may call them; the message names all of them."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a method: anybody (`public`), or any principal with one of `scopes` (empty: any principal)."""

    public: bool
    scopes: frozenset[str]


def access_of(method: MethodDescriptor) -> Access:
    """Returns who may call the method. Raises UndeclaredAccess when the contract does not say, or says two things."""
    rules = method.GetOptions().Extensions[options_pb2.rules]
    declared = [bool(rules.scopes), rules.authenticated, rules.public]
    if declared.count(True) != 1:
        raise UndeclaredAccess(f"{method.full_name}: needs exactly one of scopes, authenticated, public")
    if unknown := set(rules.scopes) - set(SCOPES):
        raise UndeclaredAccess(f"{method.full_name}: no such scope: {', '.join(sorted(unknown))}")
    return Access(public=rules.public, scopes=frozenset(rules.scopes))


def access_table(services: Iterable[ServiceDescriptor]) -> dict[str, Access]:
    """Returns who may call each method, by gRPC path. Raises UndeclaredAccess naming all faulty methods."""
    table: dict[str, Access] = {}
    faults: list[str] = []
    for method in _methods(services):
        try:
            table[f"/{method.containing_service.full_name}/{method.name}"] = access_of(method)
        except UndeclaredAccess as fault:
            faults.append(str(fault))
    if faults:
        raise UndeclaredAccess("; ".join(faults))
    return table


def _methods(services: Iterable[ServiceDescriptor]) -> Iterator[MethodDescriptor]:
    for service in services:
        yield from service.methods
