"""What a caller may ask to have generated, and what is wrong with a request."""

import re
from dataclasses import dataclass

from services.asset.media import IMAGE_FORMATS
from services.asset.models import CATEGORIES
from shared.errors import InvalidArgument, Violation

MAX_DESCRIPTION = 4000
MAX_STYLE = 200
MAX_PLATFORM = 64
MAX_SEARCH = 200
MAX_FILE_SIZE_MB = 1024.0
MAX_COST_USD = 1000.0
MAX_WAIT_MS = 600_000
QUALITIES = ("low", "medium", "high")
DEFAULT_QUALITY = "medium"
DEFAULT_MAX_COST_USD = 0.50
DEFAULT_WAIT_MS = 5_000
# What providers name their models by; the column holds 200 characters.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A wish for a new asset. An empty `model` or `file_format` leaves the choice to the generator."""

    category: str
    description: str
    style: str = ""
    model: str = ""
    platform: str = ""
    quality: str = DEFAULT_QUALITY
    file_format: str = ""
    polygon_count_max: int = 0
    file_size_max_mb: float = 0.0
    allow_generation: bool = True
    max_cost: float = DEFAULT_MAX_COST_USD
    max_wait_time_ms: int = DEFAULT_WAIT_MS


def check_generation(request: GenerationRequest) -> None:
    """Raises InvalidArgument with everything that is wrong with a request, by the contract's field paths."""
    found = [
        *_one_of("category", request.category, CATEGORIES),
        *check_text("description", request.description, MAX_DESCRIPTION, required=True),
        *check_text("style", request.style, MAX_STYLE),
        *check_text("requirements.platform", request.platform, MAX_PLATFORM),
        *_one_of("requirements.quality", request.quality, QUALITIES),
        *(_one_of("requirements.format", request.file_format, IMAGE_FORMATS) if request.file_format else ()),
        *_between("requirements.polygon_count_max", request.polygon_count_max, 2**31 - 1, "polygons (0: no limit)"),
        *_between("requirements.file_size_max_mb", request.file_size_max_mb, MAX_FILE_SIZE_MB, "MB (0: no limit)"),
        *_between("preferences.max_cost", request.max_cost, MAX_COST_USD, "USD"),
        *_between("preferences.max_wait_time_ms", request.max_wait_time_ms, MAX_WAIT_MS, "milliseconds"),
    ]
    if request.model and not _MODEL.fullmatch(request.model):
        found.append(Violation("model", "must be a model id, such as gpt-image-2; or leave it out"))
    if found:
        raise InvalidArgument.of(*found)


def check_filter(category: str, search: str) -> list[Violation]:
    """Returns what is wrong with the filters of a list; empty ones filter nothing."""
    return [
        *(_one_of("category", category, CATEGORIES) if category else ()),
        *check_text("search", search, MAX_SEARCH),
    ]


def check_text(field: str, text: str, longest: int, *, required: bool = False) -> list[Violation]:
    """Returns what is wrong with a text. U+0000 is refused because Postgres cannot hold it."""
    if required and not text.strip():
        return [Violation(field, f"is required: say it in 1 to {longest} characters")]
    if len(text) > longest:
        return [Violation(field, f"must have at most {longest} characters, not {len(text)}")]
    if "\0" in text:
        return [Violation(field, "must not contain the character U+0000")]
    return []


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> list[Violation]:
    if value in allowed:
        return []
    got = f"not {value[:40]!r}" if value else "and is required"
    return [Violation(field, f"must be one of {', '.join(allowed)}, {got}")]


def _between(field: str, value: float, most: float, unit: str) -> list[Violation]:
    # Written so that NaN, which is neither, is refused.
    if 0 <= value <= most:
        return []
    return [Violation(field, f"must be 0 to {most:g} {unit}, not {value:g}")]
