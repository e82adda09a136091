"""Reading a CSV of another platform's keys."""

import datetime as dt

import pytest

from services.auth.importing import read_keys
from services.auth.permissions import Permissions
from shared.errors import InvalidArgument

HASH = "a" * 64


def read(*lines: str):
    return read_keys(f"{line}\n" for line in lines)


def test_keys_are_read_with_what_the_file_says_and_defaults_for_the_rest():
    full, short = read(
        "id,key_hash,email,name,permissions,is_active,expires_at,prefix,last_four",
        f'7,{HASH.upper()},a@b.example,phone,"{{""admin"": true}}",false,2030-01-02T03:04:05,sk-,wxyz',
        f"8,{'b' * 64},c@d.example,,,,,,",
    )
    assert (full.digest, full.email, full.name) == (HASH, "a@b.example", "phone")
    assert full.permissions == Permissions(("admin",))
    assert (full.is_active, full.prefix, full.last_four) == (False, "sk-", "wxyz")
    assert full.expires_at == dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert (short.name, short.permissions, short.is_active, short.expires_at) == (
        "imported",
        Permissions(()),
        True,
        None,
    )


def test_scopes_may_be_listed_instead():
    [key] = read("key_hash,email,scopes", f"{HASH},a@b.example,chat:read usage:read")
    assert key.permissions == Permissions(("chat:read", "usage:read"))


def test_all_faults_are_named_by_line_and_column_at_once():
    with pytest.raises(InvalidArgument) as caught:
        read(
            "key_hash,email,permissions,scopes,is_active,expires_at",
            "xyz,nobody,[],fly,maybe,soon",
            f"{HASH},a@b.example,,,,",
            f"{HASH},c@d.example,,,,",
        )
    fields = [violation.field for violation in caught.value.violations]
    assert fields == [
        *(f"line 2, {name}" for name in ("key_hash", "email", "permissions", "scopes", "is_active", "expires_at")),
        "line 4, key_hash",
    ]
    assert "line 3" in str(caught.value)


@pytest.mark.parametrize("lines", [(), ("",), ("email",), ("key_hash;email",)])
def test_a_file_without_its_columns_is_refused(lines: tuple[str, ...]):
    with pytest.raises(InvalidArgument, match="line 1"):
        read(*lines)


def test_what_is_no_csv_is_refused():
    with pytest.raises(InvalidArgument, match="is no CSV"):
        read("key_hash,email", f'{HASH},"a@b.example"x')


def test_a_file_full_of_faults_names_the_first_twenty():
    with pytest.raises(InvalidArgument) as caught:
        read("key_hash,email", *(f"{number},a@b.example" for number in range(1000)))
    assert len(caught.value.violations) == 20
