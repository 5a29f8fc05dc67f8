"""What can be chosen: persons' models, pixel boosts, weights."""

from pathlib import Path

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.host import adapter
from facefusion_finetune.registry.card import decode_card
from facefusion_finetune.registry.names import card_path, find_active, models_directory
from facefusion_finetune.swappers.catalogue import FAMILIES

finetuned_swapper_types = tuple(FAMILIES)
"""Kinds of base swappers the processor can feed."""

finetuned_swapper_weight_range = [step / 20 for step in range(21)]

PIXEL_BOOST_LIMIT = 1024


def label_models() -> list[tuple[str, str]]:
    """Label and name of each person with an active model; the label marks who is unproven."""
    active = find_active(models_directory(adapter.HOST_PATH))
    return [
        (name if _is_proven(versions[max(versions)]) else f"{name} (unproven)", name)
        for name, versions in sorted(active.items())
    ]


def _is_proven(path: Path) -> bool:
    """Whether the card beside a model says so; a card that cannot be read says nothing."""
    try:
        card = decode_card(card_path(path).read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError, FinetuneError):
        return False
    return bool(card.judge_result.get("proven"))


def list_pixel_boosts(size: tuple[int, int]) -> list[str]:
    """Pixel boosts for a model of `size` (width, height): its multiples, up to 1024.

    For two models the host lists a size between them, which its own face swapper cannot cut up.
    """
    width, height = size
    total = max(PIXEL_BOOST_LIMIT // max(size), 1)
    return [f"{width * factor}x{height * factor}" for factor in range(1, total + 1)]
