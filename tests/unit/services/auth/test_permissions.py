"""The `permissions` column, and who may give which of it away."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.permissions import (
    MAX_MODELS,
    NOTHING,
    Permissions,
    check_gift,
    check_permissions,
    dump_permissions,
    inherited,
    normalised,
    parse_permissions,
)
from shared.errors import PermissionDenied
from shared.identity.principal import SCOPES, KeyLimits, Principal


def caller(*scopes: str, models: tuple[str, ...] = (), limits: KeyLimits | None = None) -> Principal:
    return Principal("user", "a@b", "key", frozenset(scopes), "test", frozenset(models), limits or KeyLimits())


counts = st.none() | st.integers(min_value=1, max_value=2**31 - 1)
budgets = st.none() | st.decimals(min_value=0, max_value=10**9, places=6)


@given(
    scopes=st.lists(st.sampled_from(SCOPES)),
    models=st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)),
    limits=st.builds(KeyLimits, counts, counts, budgets),
)
def test_what_is_stored_reads_back_as_it_was(scopes, models, limits):
    permissions = normalised(Permissions(tuple(scopes), tuple(models), limits))
    assert parse_permissions(dump_permissions(permissions)) == permissions


@pytest.mark.parametrize(
    ("column", "scopes"),
    [
        ({"admin": True}, ("admin",)),
        ({"admin": False}, ()),
        ({"admin": "yes"}, ()),
        ({}, ()),
        ({"scopes": ["fly", "chat:read"]}, ("chat:read",)),
        ({"scopes": "admin"}, ()),
    ],
)
def test_rows_of_older_platforms_are_understood_and_unknown_scopes_grant_nothing(column, scopes):
    assert parse_permissions(column).scopes == scopes


@pytest.mark.parametrize(
    "damage",
    [
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"monthly_budget_usd": "a lot"}},
        {"limits": 5},
        {"allowed_models": "all"},
        {"allowed_models": [1]},
    ],
)
def test_a_row_whose_restrictions_cannot_be_read_grants_nothing(damage):
    assert parse_permissions({"scopes": ["admin"], **damage}) == NOTHING


@pytest.mark.parametrize(
    ("permissions", "field"),
    [
        (Permissions(("fly",)), "scopes"),
        (Permissions((), ("m",) * (MAX_MODELS + 1)), "allowed_models"),
        (Permissions((), ("",)), "allowed_models"),
        (Permissions((), ("m" * 65,)), "allowed_models"),
        (Permissions((), ("a b",)), "allowed_models"),
        (Permissions((), (), KeyLimits(requests_per_minute=0)), "limits.requests_per_minute"),
        (Permissions((), (), KeyLimits(tokens_per_minute=-1)), "limits.tokens_per_minute"),
        (Permissions((), (), KeyLimits(monthly_budget_usd=Decimal(-1))), "limits.monthly_budget_usd"),
        (Permissions((), (), KeyLimits(monthly_budget_usd=Decimal("NaN"))), "limits.monthly_budget_usd"),
    ],
)
def test_what_cannot_be_is_named(permissions, field):
    assert [violation.field for violation in check_permissions(permissions)] == [field]


@pytest.mark.parametrize(
    "gift",
    [
        Permissions(("chat:read", "admin")),
        Permissions(("chat:read",), ()),
        Permissions(("chat:read",), ("a", "b")),
        Permissions(("chat:read",), ("a",), KeyLimits(requests_per_minute=11)),
        Permissions(("chat:read",), ("a",), KeyLimits()),
        Permissions(("chat:read",), ("a",), KeyLimits(10, monthly_budget_usd=Decimal("5.01"))),
    ],
)
def test_nobody_gives_away_more_than_they_have(gift):
    giver = caller("chat:read", models=("a",), limits=KeyLimits(10, monthly_budget_usd=Decimal(5)))
    with pytest.raises(PermissionDenied):
        check_gift(giver, gift)


def test_what_one_has_can_be_given_and_is_inherited_where_nothing_is_said():
    giver = caller("chat:read", models=("a", "b"), limits=KeyLimits(10, monthly_budget_usd=Decimal(5)))
    gift = inherited(giver, Permissions(("chat:read",), (), KeyLimits(requests_per_minute=3)))
    assert gift == Permissions(("chat:read",), ("a", "b"), KeyLimits(3, None, Decimal(5)))
    check_gift(giver, gift)


def test_an_admin_gives_more_than_its_own_key_may_use():
    giver = caller("admin", models=("a",), limits=KeyLimits(10))
    check_gift(giver, inherited(giver, Permissions(("chat:read",))))
