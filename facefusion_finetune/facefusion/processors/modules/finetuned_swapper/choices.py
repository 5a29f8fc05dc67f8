"""The available choices: persons' models, pixel boosts, weights."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.host import adapter
from facefusion_finetune.host.models import card_path, find_active, models_directory
from facefusion_finetune.people.profile import split_reference
from facefusion_finetune.swappers import card as cards
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES

finetuned_swapper_types = tuple(FAMILIES)
"""Types of base swappers that the processor supports."""

finetuned_swapper_weight_range = [step / 20 for step in range(21)]

PIXEL_BOOST_LIMIT = 1024


def label_models(*references: str | None) -> list[tuple[str, str]]:
    """Label and name of each person with an active model; the label marks unproven models.

    Args:
        references: `NAME@VERSION` of active models to list as well.
    """
    active = find_active(models_directory(adapter.HOST_PATH))
    models = {name: versions[max(versions)] for name, versions in active.items()}
    for reference in references:
        path = _find_version(reference, active)
        if reference and path:
            models[reference] = path
    return [
        (name if _is_proven(path) else f"{name} (unproven)", name)
        for name, path in sorted(models.items())
    ]


def read_card(path: Path) -> ModelCard | None:
    """The card next to a model; None if it cannot be read."""
    try:
        stat = card_path(path).stat()
        return _read_static_card(card_path(path), stat.st_mtime_ns, stat.st_size)
    except (OSError, FinetuneError):
        return None


@lru_cache(maxsize=256)
def _read_static_card(path: Path, _modified: int, _size: int) -> ModelCard:
    """Read a card again only when the file's time or size changed."""
    return cards.read_card(path)


def _find_version(reference: str | None, active: Mapping[str, Mapping[int, Path]]) -> Path | None:
    """The active model of a `NAME@VERSION`; None for a `NAME` without a version."""
    try:
        person, version = split_reference(reference or "")
    except FinetuneError:
        return None
    return active.get(person, {}).get(version) if version is not None else None


def _is_proven(path: Path) -> bool:
    """Whether the card next to a model says that it is proven; False if it cannot be read."""
    card = read_card(path)
    return card is not None and bool(card.judge_result.get("proven"))


def list_pixel_boosts(size: tuple[int, int]) -> list[str]:
    """Pixel boosts for a model of `size` (width, height): its multiples, up to 1024.

    For two models, the host also lists a size in between that its own face swapper cannot split.
    """
    width, height = size
    total = max(PIXEL_BOOST_LIMIT // max(size), 1)
    return [f"{width * factor}x{height * factor}" for factor in range(1, total + 1)]
