"""What the user has chosen, brought in line with the models there are."""

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
USUAL_WEIGHT = 0.5


class Selection(NamedTuple):
    """What can be chosen and what is; equal as long as nothing has changed."""

    labels: tuple[tuple[str, str], ...]
    """Label and reference of each model."""
    model: str | None
    file: tuple[str, int, int] | None
    """Path, time and size of the chosen one: another content under the same name is another."""
    pixel_boosts: tuple[str, ...]
    pixel_boost: str | None
    has_weight: bool
    """Whether the chosen model takes a weight."""


def settle(*references: str | None) -> Selection:
    """Bring the state in line with the models there are, and describe it.

    A model that is gone is chosen no more, and none in its place: that would be another person. The
    log says so. A pixel boost that does not fit becomes the model's own size.

    Args:
        references: `NAME@VERSION` of models that can be chosen as well.
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


def settle_weight() -> float:
    """The weight; one that is out of range becomes the usual one."""
    weight = state_manager.get_item(WEIGHT)
    if weight is None or not 0 <= weight <= 1:
        weight = USUAL_WEIGHT
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
    except FileNotFoundError:  # removed just now
        return None
    return str(path), stat.st_mtime_ns, stat.st_size


def _takes_weight(card: ModelCard) -> bool:
    """A model that is driven by a picture takes none."""
    family = FAMILIES.get(card.type)
    return family is not None and family.picture is None
