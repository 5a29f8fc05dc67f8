"""The dropdown of persons with its pixel boost and weight, below the face swapper's options.

The models are looked for again every few seconds: they come and go by the tab, the command line and
other pages, and what is chosen is shared by all pages.
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
"""The properties of an option, by what is shown and whether the processor is ticked."""

PROCESSOR = "finetuned_swapper"
SECONDS = 2.0
"""Between two looks at the models."""

FINETUNED_SWAPPER_MODEL_DROPDOWN: gradio.Dropdown
FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN: gradio.Dropdown
FINETUNED_SWAPPER_WEIGHT_SLIDER: gradio.Slider
SHOWN_STATE: gradio.State
"""What a page shows, so that it is told of changes only."""
CHANGES_TEXTBOX: gradio.Textbox
"""A change that a page has noticed, and is told of next."""
DRAWN_STATE: gradio.State
"""What the preview of a page is drawn with; the preview follows its changes."""

GIVEN_MODEL: str | None = None
"""What was chosen when FaceFusion started; a version chosen there stays a choice."""


def render() -> None:
    """Put the options on the page, to be seen where the processor is ticked."""
    global FINETUNED_SWAPPER_MODEL_DROPDOWN
    global FINETUNED_SWAPPER_PIXEL_BOOST_DROPDOWN
    global FINETUNED_SWAPPER_WEIGHT_SLIDER
    global SHOWN_STATE
    global DRAWN_STATE
    global CHANGES_TEXTBOX
    global GIVEN_MODEL

    GIVEN_MODEL = state_manager.get_item(MODEL)
    shown = selection.settle()
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

    # `input` is what the user does: a choice a page is told of must not come back from there
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
    """Let the preview follow, where there is one.

    Args:
        released: The event that puts a weight that was let go into the state.
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
    """Show the options where the processor is ticked."""
    shown = selection.settle(GIVEN_MODEL)
    is_ticked = PROCESSOR in processors
    return [
        gradio.Dropdown(visible=is_ticked),
        gradio.Dropdown(visible=is_ticked and bool(shown.pixel_boosts)),
        gradio.Slider(visible=is_ticked and shown.has_weight),
    ]


def update_model(model: str | None, processors: Sequence[str], before: Selection) -> list[Any]:
    """Use another model; of one that cannot be used the page says why, and the former stays.

    Args:
        model: The user's choice.
        processors: Those ticked on this page.
        before: What this page was told last.
    """
    try:
        core.choose_model(model)
        state_manager.set_item(MODEL, model)
    except FinetuneError as error:
        warn(str(error))
    return show(selection.settle(GIVEN_MODEL), processors, before, describe_model)


def update_pixel_boost(
    pixel_boost: str | None, processors: Sequence[str], before: Selection
) -> list[Any]:
    """Use another pixel boost; arguments as in `update_model`."""
    state_manager.set_item(PIXEL_BOOST, pixel_boost)
    return show(selection.settle(GIVEN_MODEL), processors, before, describe_pixel_boost)


def update_weight(weight: float) -> None:
    """Use another weight."""
    state_manager.set_item(WEIGHT, weight)


def look(before: Selection) -> Any:
    """Whether something has changed since the page was told last, which is `before`."""
    shown = selection.settle(GIVEN_MODEL)
    return gradio.skip() if shown == before else digest((before, shown))


def update_changes(processors: Sequence[str], before: Selection) -> Any:
    """Show what has changed since the page was told last; nothing if nothing has.

    Args:
        processors: Those ticked on this page.
        before: What this page was told last.
    """
    shown = selection.settle(GIVEN_MODEL)
    if shown == before:
        return gradio.skip()
    if PROCESSOR in processors and before.model and not shown.model:
        # the log has it
        gradio.Warning(translate("model_gone").format(name=before.model), duration=None)
    elif PROCESSOR in processors and shown.file != before.file:
        try:
            # asked here, since the host keeps its log shut while it draws a preview
            core.choose_model()
        except FinetuneError as error:
            warn(str(error))
    return show(shown, processors, before)


def load(processors: Sequence[str]) -> list[Any]:
    """Show what is chosen on a page that is opened or loaded again."""
    return show(selection.settle(GIVEN_MODEL), processors)


def show(
    shown: Selection,
    processors: Sequence[str],
    before: Selection | None = None,
    touched: Describe | None = None,
) -> list[Any]:
    """What a page is told.

    Only what differs: a list of choices that is sent again closes in on the present choice while
    the user is looking at it.

    Args:
        shown: What is to be shown.
        processors: Those ticked on this page.
        before: What it was told last.
        touched: The option that the user has changed since.
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
