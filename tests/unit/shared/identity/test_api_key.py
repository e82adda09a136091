import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identity import api_key

BASE62 = string.digits + string.ascii_letters


def test_a_generated_key_is_well_formed_and_names_its_environment():
    key = api_key.generate("prod")
    assert api_key.is_well_formed(key)
    assert api_key.public_prefix(key) == "gaia_prod_"


def test_two_keys_differ():
    assert api_key.generate("dev") != api_key.generate("dev")


@given(st.integers(0, 37), st.sampled_from(BASE62))
def test_any_single_wrong_character_is_noticed(position: int, character: str):
    key = api_key.generate("dev")
    place = len("gaia_dev_") + position
    typo = key[:place] + character + key[place + 1 :]
    assert api_key.is_well_formed(typo) == (typo == key)


@given(st.integers(0, 36))
def test_two_swapped_characters_are_noticed(position: int):
    key = api_key.generate("dev")
    place = len("gaia_dev_") + position
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert api_key.is_well_formed(swapped) == (swapped == key)


@pytest.mark.parametrize(
    "text",
    ["", "gaia_dev_", "gaia_DEV_" + "a" * 38, "gaia_dev_" + "a" * 38, "sk-" + "a" * 40, "gaia_dev_\x00" + "a" * 37],
)
def test_what_is_no_key_is_refused(text: str):
    assert not api_key.is_well_formed(text)


def test_the_digest_is_the_sha256_of_the_key_in_hexadecimal():
    assert api_key.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
