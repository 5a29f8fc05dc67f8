"""Properties of the components of the tuned models' options, by the current selection."""

from typing import Any

from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import selection
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.selection import Selection
from facefusion_finetune.host import adapter

PACKAGE = "facefusion_finetune.facefusion.processors.modules.finetuned_swapper"


def describe_model(shown: Selection, is_ticked: bool) -> dict[str, Any]:
    """The dropdown of persons, with a hint if none is selected."""
    hint = None
    if shown.model is None:
        text = translate("nobody_chosen" if shown.labels else "nobody_active")
        # in the text colour, since Gradio's colour for hints is hard to read
        hint = f'<span style="color: var(--body-text-color)">{text}</span>'
    return {
        "choices": list(shown.labels),
        "value": shown.model,
        "info": hint,
        "visible": is_ticked,
    }


def describe_pixel_boost(shown: Selection, is_ticked: bool) -> dict[str, Any]:
    """The dropdown of pixel boosts, which depend on the model."""
    return {
        "choices": list(shown.pixel_boosts),
        "value": shown.pixel_boost,
        "visible": is_ticked and bool(shown.pixel_boosts),
    }


def describe_weight(shown: Selection, is_ticked: bool) -> dict[str, Any]:
    """The slider of the weight, for a model that supports one."""
    return {"value": selection.sync_weight(), "visible": is_ticked and shown.has_weight}


def describe_drawn(shown: Selection) -> tuple[Any, ...]:
    """The values that the preview depends on."""
    return shown.file, shown.pixel_boost


def translate(notation: str) -> str:
    """A text of the processor."""
    return adapter.translate(f"uis.{notation}", PACKAGE)
