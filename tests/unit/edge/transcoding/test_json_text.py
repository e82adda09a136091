"""Repeated keys, depth and exact numbers in JSON texts."""

import json
import random

import pytest

from edge.transcoding.json_text import Repeated, nests_deeper, parse_exact, repeats_key
from edge.transcoding.scalars import Number
from edge.transcoding.violations import RefusedError


def keys_of(tree: object) -> int:
    if isinstance(tree, dict):
        return len(tree) + sum(map(keys_of, tree.values()))
    return sum(map(keys_of, tree)) if isinstance(tree, list) else 0


def depth_of(tree: object) -> int:
    if isinstance(tree, dict):
        return 1 + max(map(depth_of, tree.values()), default=0)
    return 1 + max(map(depth_of, tree), default=0) if isinstance(tree, list) else 0


TRICKY = ('": ', ":", "\\", '\\"', "{", "}]", '":', "\\\\", "a", "", '" :', "\n", "\u00e9", '\\":')


def random_tree(rng: random.Random, depth: int) -> object:
    """Return a tree whose texts hold everything that could be taken for structure."""
    choice = rng.randrange(4 if depth else 2)
    if choice == 2:
        return [random_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    if choice == 3:
        return {"".join(rng.choices(TRICKY, k=2)): random_tree(rng, depth - 1) for _ in range(rng.randrange(4))}
    return "".join(rng.choices(TRICKY, k=rng.randrange(4))) if choice else rng.randrange(100)


@pytest.mark.parametrize("separators", [(",", ":"), (" , ", "\n\t: "), (", ", ": ")])
@pytest.mark.parametrize("padding", ["", "x" * 2000], ids=["short", "long"])
def test_keys_and_depth_are_counted_whatever_the_strings_hold(separators: tuple[str, str], padding: str) -> None:
    rng = random.Random(7)
    for _ in range(300):
        tree = [random_tree(rng, 5), padding]
        body = json.dumps(tree, separators=separators, ensure_ascii=rng.random() < 0.5).encode()
        assert not repeats_key(body, keys_of(tree))
        assert repeats_key(body, keys_of(tree) - 1)
        depth = depth_of(tree)
        assert not nests_deeper(body, depth)
        assert nests_deeper(body, depth - 1)


@pytest.mark.parametrize(
    "body",
    [
        '{"a":1,"a":2}',
        '{"a" :1,"a":2}',
        '{"a\\\\":1,"b":":","a\\\\":2}',
        '{"x":{"a":1},"y":[{"k":1,"k":1}]}',
        '{"a":1,"\\u0061":2}',
        '{"a":1,"a":{"b":1}}',
    ],
)
def test_a_repeated_key_shows_in_the_count(body: str) -> None:
    assert repeats_key(body.encode(), keys_of(json.loads(body)))


def test_exact_parsing_keeps_numbers_and_repeated_keys() -> None:
    tree = parse_exact(b'{"a": [1, -0, 123456789012345678, 1.5, 1e3, 0.12345678901234567], "b": 1, "b": 2, "b": 3}')
    assert isinstance(tree, Repeated)
    assert tree.keys_repeated == ("b",)
    assert tree["a"] == [1, 0, "123456789012345678", 1.5, "1e3", "0.12345678901234567"]
    assert [type(item) for item in tree["a"] if isinstance(item, str)] == [Number] * 3


def test_text_that_is_no_json_is_refused_in_our_own_words() -> None:
    for body in (b"", b"nul", b"{", b'"\\x"', b"[1,]", b"-", b"1.", b"\xff", b"Infinity", b"[" * 5000):
        with pytest.raises(RefusedError) as caught:
            parse_exact(body)
        assert "Expecting" not in caught.value.description
        assert "codec" not in caught.value.description
