"""How many tokens a drawn image takes, by its size and quality, for models of which that is published.

For what it may cost before it is made; what is booked comes from the usage in the reply.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

SQUARE = "1024x1024"
PARTIAL_TOKENS = 100
"""What each image costs beside that is shown while the final one takes shape."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_MOST_PIXELS = 3840 * 2160
_MOST_EDGE = 3840

# OpenAI's table for its first models, which draw three sizes: square, portrait, landscape.
_SIZES = (SQUARE, "1024x1536", "1536x1024")
_BY_SIZE: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
)
_TABLED = frozenset({"gpt-image-1", "gpt-image-1.5"})

# The later ones draw any size: on a grid whose longer side has so many cells for a quality, each of which takes more
# tokens the larger the image is. So does OpenAI's cost calculator count.
_GRIDS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "gpt-image-2": {"low": 16, "medium": 48, "high": 96},
        "gpt-image-2.5-flare": {"low": 16, "medium": 24, "high": 48},
        "gpt-image-2.5-sunburst": {"low": 16, "medium": 24, "high": 48},
    }
)
_MORE_QUALITIES = frozenset({"gpt-image-2.5-flare", "gpt-image-2.5-sunburst"})
"""Those with qualities whose cells are not published."""
_LARGEST = "2880x2880"
"""As many pixels as any image may have, in the form that takes the most tokens."""
_CHOSEN = ("", "auto")
_BASE_PIXELS = 2_000_000
_PIXELS_PER_TOKEN = 4_000_000


def image_tokens(model: str, quality: str, size: str) -> int | None:
    """Returns the tokens of one image, None where they are not known.

    `quality` and `size` (`1024x1536`: width and height) are as in a request; `auto` is no size and no quality.
    """
    model = _SNAPSHOT.sub("", model)
    if model in _TABLED:
        tabled = _BY_SIZE.get(quality)
        return tabled[_SIZES.index(size)] if tabled and size in _SIZES else None
    cells, pixels = _GRIDS.get(model, {}).get(quality), _SIZE.fullmatch(size)
    if cells is None or pixels is None:
        return None
    width, height = int(pixels[1]), int(pixels[2])
    if max(width, height) > _MOST_EDGE or width * height > _MOST_PIXELS:
        return None
    longer, shorter = max(width, height), min(width, height)
    rows = (2 * cells * shorter + longer) // (2 * longer)
    return -(-cells * rows * (_BASE_PIXELS + width * height) // _PIXELS_PER_TOKEN)


def most_image_tokens(model: str, quality: str, size: str) -> int | None:
    """Returns the most tokens of one image, where a request may leave quality or size to the model (`auto`, or empty).

    None where they are not known: what a model chooses must be one of what is published.
    """
    name = _SNAPSHOT.sub("", model)
    qualities, sizes = [quality], [size]
    if quality in _CHOSEN:
        qualities = list(_BY_SIZE if name in _TABLED else _GRIDS.get(name, {}))
        if name in _MORE_QUALITIES:
            return None
    if size in _CHOSEN:
        sizes = list(_SIZES) if name in _TABLED else [_LARGEST]
    counted = [image_tokens(name, one, of_size) for one in qualities for of_size in sizes]
    known = [tokens for tokens in counted if tokens is not None]
    return max(known) if known and len(known) == len(counted) else None
