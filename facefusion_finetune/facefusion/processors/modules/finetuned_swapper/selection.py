"""The user's selection, kept consistent with the available models."""

from pathlib import Path
from typing import NamedTuple

from facefusion import logger, state_manager

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import choices, models
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES

MODEL = "finetuned_swapper_model"
PIXEL_BOOST = "finetuned_swapper_pixel_boost"
WEIGHT = "finetuned_swapper_weight"
DEFAULT_WEIGHT = 0.5


class Selection(NamedTuple):
    """The available choices and the selected ones; equal as long as nothing has changed."""

    labels: tuple[tuple[str, str], ...]
    """Label and reference of each model."""
    model: str | None
    file: tuple[str, int, int] | None
    """Path, time and size of the selected model's file, to detect changed content."""
    pixel_boosts: tuple[str, ...]
    pixel_boost: str | None
    has_weight: bool
    """Whether the selected model supports a weight."""


def sync_selection(*references: str | None) -> Selection:
    """Make the state consistent with the available models, and return the selection.

    A model that no longer exists is deselected, which is logged; no other one is selected instead,
    as that would be another person. An unsuitable pixel boost is reset to the model's own size.

    Args:
        references: `NAME@VERSION` of additional models to offer.
    """
    labels = choices.label_models(state_manager.get_item(MODEL), *references)
    path = _find_chosen_file()
    card = choices.read_card(path) if path else None
    pixel_boosts = choices.list_pixel_boosts(card.size) if card else []
    if pixel_boosts and state_manager.get_item(PIXEL_BOOST) not in pixel_boosts:
        state_manager.set_item(PIXEL_BOOST, pixel_boosts[0])
    return Selection(
        tuple(labels),
        state_manager.get_item(MODEL),
        _describe_file(path) if path else None,
        tuple(pixel_boosts),
        state_manager.get_item(PIXEL_BOOST) if pixel_boosts else None,
        card is not None and _takes_weight(card),
    )


def sync_weight() -> float:
    """The weight; reset to the default if it is out of range."""
    weight = state_manager.get_item(WEIGHT)
    if weight is None or not 0 <= weight <= 1:
        weight = DEFAULT_WEIGHT
        state_manager.set_item(WEIGHT, weight)
    return float(weight)


def _find_chosen_file() -> Path | None:
    model = state_manager.get_item(MODEL)
    if model is None:
        return None
    try:
        return models.find_model(model)
    except FinetuneError as error:
        logger.error(str(error), __name__)
        state_manager.set_item(MODEL, None)
        return None


def _describe_file(path: Path) -> tuple[str, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:  # removed a moment ago
        return None
    return str(path), stat.st_mtime_ns, stat.st_size


def _takes_weight(card: ModelCard) -> bool:
    """Whether a model supports a weight; picture-driven ones do not."""
    family = FAMILIES.get(card.type)
    return family is not None and family.picture is None
