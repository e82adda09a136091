"""Principals as messages carry them."""

from hypothesis import given
from hypothesis import strategies as st

from shared.identity.principal import SCOPES, KeyLimits, Principal
from shared.identity.wire import decode_principal, encode_principal

counts = st.none() | st.integers(min_value=1, max_value=2**31 - 1)
budgets = st.none() | st.decimals(min_value=0, max_value=10**9, places=6)
names = st.frozensets(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64))


@given(
    scopes=st.frozensets(st.sampled_from(SCOPES)),
    models=names,
    limits=st.builds(KeyLimits, counts, counts, budgets),
    budget=budgets,
)
def test_a_principal_reads_back_as_it_was(scopes, models, limits, budget):
    principal = Principal("user", "a@b", "key", scopes, "test", models, limits, budget)
    assert decode_principal(encode_principal(principal)) == principal
