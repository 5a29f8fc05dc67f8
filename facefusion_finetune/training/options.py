"""How a training is carried out, beside the recipe: none of it is part of a preset."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facefusion_finetune.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "fp16")

DEFAULT_CACHE = "4GB"

JUDGE_VARIABLE = "FACEFUSION_FINETUNE_JUDGE"
"""An independent recogniser's file, for whoever names none."""

_UNITS = "KMGT"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of a size such as `4GB`, `512 MB`, `1.5GiB` or `0`.

    Raises:
        UsageError: It is none.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None or (match[3] and not match[2]):
        raise UsageError(
            f"size {text!r}", "it is no number of bytes.", "For example: 4GB, 512MB or 1.5GiB."
        )
    power = _UNITS.index(match[2]) + 1 if match[2] else 0
    base = 1024 if match[3] else 1000
    return round(float(match[1]) * float(base**power))


@dataclass(frozen=True)
class TrainOptions:
    """How a training is carried out."""

    precision: Precision = "auto"
    trackers: tuple[str, ...] = ()
    """Beside metrics.jsonl; see `trackers.check_trackers`."""
    cache_directory: Path | None = None
    """Where the frozen part's results are kept; by default in the run's folder."""
    cache_bytes: int = parse_size(DEFAULT_CACHE)
    """Most room they may take."""
    commercial: bool = False
    """Refuse a base whose licence does not allow commercial use."""
    others: list[Path] = field(default_factory=list)
    """Footage of other people, for pairs with their frames."""
