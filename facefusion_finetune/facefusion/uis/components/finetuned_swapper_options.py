"""The dropdown of persons with pixel boost and weight, below the face swapper's options.

The models are polled every few seconds, since the tab, the command line and other pages may change
them, and all pages share the selection.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio
from facefusion import state_manager
from facefusion.common_helper import calculate_float_step
from facefusion.uis.core import get_ui_component, register_ui_component

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import (
    choices,
    core,
    selection,
)
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.selection import (
    MODEL,
    PIXEL_BOOST,
    WEIGHT,
    Selection,
)
from facefusion_finetune.facefusion.uis import following
from facefusion_finetune.facefusion.uis.options_view import (
    describe_drawn,
    describe_model,
    describe_pixel_boost,
    describe_weight,
    translate,
)
from facefusion_finetune.facefusion.uis.page import (
    connect,
    connect_load,
    create_signal,
    digest,
    render_style,
    warn,
)

Describe = Callable[[Selection, bool], dict[str, Any]]
"""Maps the selection, and whether the processor is ticked, to an option's properties."""

PROCESSOR = "finetuned_swapper"
SECONDS = 2.0
"""Polling interval of the models."""

FINETUNED_SWAPPER_MODEL_DROPDOWN: gradio.Dropdown
FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN: gradio.Dropdown
FINETUNED_SWAPPER_WEIGHT_SLIDER: gradio.Slider
SHOWN_STATE: gradio.State
"""What a page shows, so that it is updated only on changes."""
CHANGES_TEXTBOX: gradio.Textbox
"""A detected change, which triggers an update of the page."""
DRAWN_STATE: gradio.State
"""The values a page's preview depends on; it is redrawn when they change."""

GIVEN_MODEL: str | None = None
"""The model selected when FaceFusion started; a version given there remains available."""


def render() -> None:
    """Render the options, visible if the processor is ticked."""
    global FINETUNED_SWAPPER_MODEL_DROPDOWN
    global FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN
    global FINETUNED_SWAPPER_WEIGHT_SLIDER
    global SHOWN_STATE
    global DRAWN_STATE
    global CHANGES_TEXTBOX
    global GIVEN_MODEL

    GIVEN_MODEL = state_manager.get_item(MODEL)
    shown = selection.sync_selection()
    is_ticked = PROCESSOR in state_manager.get_item("processors")
    FINETUNED_SWAPPER_MODEL_DROPDOWN = gradio.Dropdown(
        label=translate("model_dropdown"),
        elem_id="finetuned_swapper_model_dropdown",
        interactive=True,
        **describe_model(shown, is_ticked),
    )
    FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN = gradio.Dropdown(
        label=translate("pixel_boost_dropdown"),
        elem_id="finetuned_swapper_pixel_boost_dropdown",
        interactive=True,
        **describe_pixel_boost(shown, is_ticked),
    )
    FINETUNED_SWAPPER_WEIGHT_SLIDER = gradio.Slider(
        label=translate("weight_slider"),
        elem_id="finetuned_swapper_weight_slider",
        minimum=choices.finetuned_swapper_weight_range[0],
        maximum=choices.finetuned_swapper_weight_range[-1],
        step=calculate_float_step(choices.finetuned_swapper_weight_range),
        interactive=True,
        **describe_weight(shown, is_ticked),
    )
    following.render(SECONDS)
    render_style()
    SHOWN_STATE = gradio.State(shown)
    DRAWN_STATE = gradio.State(describe_drawn(shown))
    CHANGES_TEXTBOX = create_signal()
    register_ui_component("finetuned_swapper_model_dropdown", FINETUNED_SWAPPER_MODEL_DROPDOWN)
    register_ui_component(
        "finetuned_swapper_pixel_boost_dropdown", FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN
    )
    register_ui_component("finetuned_swapper_weight_slider", FINETUNED_SWAPPER_WEIGHT_SLIDER)


def listen() -> None:
    """Connect the options with the state, the processors and the preview."""
    model_dropdown = FINETUNED_SWAPPER_MODEL_DROPDOWN
    pixel_boost_dropdown = FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN
    weight_slider = FINETUNED_SWAPPER_WEIGHT_SLIDER
    options = [model_dropdown, pixel_boost_dropdown, weight_slider]
    outputs = [*options, SHOWN_STATE, DRAWN_STATE]
    processors = get_ui_component("processors_checkbox_group")
    if processors is None:
        processors = gradio.State(state_manager.get_item("processors"))
    else:
        connect(processors.change, remote_update, processors, options)

    # `input` only: a value set by an update must not trigger another update
    connect(
        model_dropdown.input,
        update_model,
        [model_dropdown, processors, SHOWN_STATE],
        outputs,
        show_progress="full",
    )
    connect(
        pixel_boost_dropdown.input,
        update_pixel_boost,
        [pixel_boost_dropdown, processors, SHOWN_STATE],
        outputs,
    )
    connect(weight_slider.input, update_weight, weight_slider, trigger_mode="always_last")
    released = connect(weight_slider.release, update_weight, weight_slider)
    seen = [processors, SHOWN_STATE]
    following.attend(CHANGES_TEXTBOX, look, [SHOWN_STATE], update_changes, seen, outputs)
    following.listen(on_load=False)
    connect_load(load, processors, outputs)
    listen_for_preview(released)


def listen_for_preview(released: Any) -> None:
    """Update the preview, if there is one.

    Args:
        released: The event that sets the weight in the state when the slider is released.
    """
    preview_image = get_ui_component("preview_image")
    inputs = [
        get_ui_component("preview_mode_dropdown"),
        get_ui_component("preview_resolution_dropdown"),
        get_ui_component("preview_frame_slider"),
    ]
    if preview_image and all(inputs):
        from facefusion.uis.components import preview

        options = {"inputs": inputs, "outputs": preview_image, "api_name": False}
        DRAWN_STATE.change(preview.clear_and_update_preview_image, **options)
        released.then(preview.update_preview_image, **options)


def remote_update(processors: Sequence[str]) -> list[Any]:
    """Show the options if the processor is ticked."""
    shown = selection.sync_selection(GIVEN_MODEL)
    is_ticked = PROCESSOR in processors
    return [
        gradio.Dropdown(visible=is_ticked),
        gradio.Dropdown(visible=is_ticked and bool(shown.pixel_boosts)),
        gradio.Slider(visible=is_ticked and shown.has_weight),
    ]


def update_model(model: str | None, processors: Sequence[str], before: Selection) -> list[Any]:
    """Use another model; if it cannot be used, show why and keep the former one.

    Args:
        model: The user's selection.
        processors: Processors ticked on this page.
        before: What this page showed last.
    """
    try:
        core.choose_model(model)
        state_manager.set_item(MODEL, model)
    except FinetuneError as error:
        warn(str(error))
    return show(selection.sync_selection(GIVEN_MODEL), processors, before, describe_model)


def update_pixel_boost(
    pixel_boost: str | None, processors: Sequence[str], before: Selection
) -> list[Any]:
    """Use another pixel boost; arguments as in `update_model`."""
    state_manager.set_item(PIXEL_BOOST, pixel_boost)
    return show(selection.sync_selection(GIVEN_MODEL), processors, before, describe_pixel_boost)


def update_weight(weight: float) -> None:
    """Use another weight."""
    state_manager.set_item(WEIGHT, weight)


def look(before: Selection) -> Any:
    """A new digest if something has changed since the page's last update, `before`."""
    shown = selection.sync_selection(GIVEN_MODEL)
    return gradio.skip() if shown == before else digest((before, shown))


def update_changes(processors: Sequence[str], before: Selection) -> Any:
    """Show what has changed since the page's last update.

    Args:
        processors: Processors ticked on this page.
        before: What this page showed last.
    """
    shown = selection.sync_selection(GIVEN_MODEL)
    if shown == before:
        return gradio.skip()
    if PROCESSOR in processors and before.model and not shown.model:
        # already logged
        gradio.Warning(translate("model_gone").format(name=before.model), duration=None)
    elif PROCESSOR in processors and shown.file != before.file:
        try:
            # checked here, since the host suppresses its log while it draws a preview
            core.choose_model()
        except FinetuneError as error:
            warn(str(error))
    return show(shown, processors, before)


def load(processors: Sequence[str]) -> list[Any]:
    """Show the selection on an opened or reloaded page."""
    return show(selection.sync_selection(GIVEN_MODEL), processors)


def show(
    shown: Selection,
    processors: Sequence[str],
    before: Selection | None = None,
    touched: Describe | None = None,
) -> list[Any]:
    """The updates of a page.

    Only differences are sent: sending a list of choices again would reset an open dropdown.

    Args:
        shown: The selection to show.
        processors: Processors ticked on this page.
        before: What the page showed last.
        touched: The option that the user has changed.
    """
    is_ticked = PROCESSOR in processors

    def differ(describe: Describe) -> dict[str, Any]:
        known = describe(before, is_ticked) if before else {}
        return {
            key: value
            for key, value in describe(shown, is_ticked).items()
            if key not in known or known[key] != value or (describe is touched and key == "value")
        }

    return [
        gradio.Dropdown(**differ(describe_model)),
        gradio.Dropdown(**differ(describe_pixel_boost)),
        gradio.Slider(**differ(describe_weight)),
        shown,
        describe_drawn(shown) if is_ticked else gradio.skip(),
    ]
