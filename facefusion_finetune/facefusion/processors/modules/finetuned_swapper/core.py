"""The processor `finetuned_swapper`: FaceFusion's processor interface for tuned models.

The swap follows the host's own face swapper, so that the inputs are the same as in training; the
difference is where the model is stored, and that it includes its person.
"""

import threading
from argparse import ArgumentParser
from dataclasses import replace
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from facefusion import config, inference_manager, logger, state_manager
from facefusion.app_context import detect_app_context
from facefusion.common_helper import get_first
from facefusion.filesystem import in_directory, is_image, is_video, same_file_extension
from facefusion.jobs import job_store
from facefusion.program_helper import find_argument_group

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import (
    choices,
    converters,
    models,
    sources,
    swap,
)
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.types import (
    ActiveModel,
    FinetunedSwapperInputs,
)
from facefusion_finetune.host import adapter
from facefusion_finetune.swappers.card import ModelCard, decode_metadata
from facefusion_finetune.swappers.catalogue import FAMILIES

KEYS = ["finetuned_swapper_model", "finetuned_swapper_pixel_boost", "finetuned_swapper_weight"]

ACTIVE_MODELS: dict[str, ActiveModel] = {}
"""The model in use, by app context. The UI shares its state with a run in progress; selecting or
activating another model must not change the person in the middle of a video."""

MODEL_CARDS: WeakKeyDictionary[Any, ModelCard] = WeakKeyDictionary()
"""The card inside the model file, by the session that loaded it."""

LOCK = threading.RLock()


def get_inference_pool() -> Any:
    """The host's pool with the session of the model in use, under the key `finetuned_swapper`, and
    if a source needs it, that of the host's converter, under `embedding_converter`.
    """
    model = get_active_model()
    model_source_set = {"finetuned_swapper": {"path": str(model.path)}}
    if model.converter:
        model_source_set["embedding_converter"] = {"path": str(model.converter)}
    # the host's pool has no lock, so two threads would load the model twice
    with LOCK:
        return inference_manager.get_inference_pool(
            __name__, get_model_names(model), model_source_set
        )


def clear_inference_pool() -> None:
    """Free the session of the model in use, if there is one."""
    model = ACTIVE_MODELS.get(detect_app_context())
    if model:
        with LOCK:
            inference_manager.clear_inference_pool(__name__, get_model_names(model))


def get_model_names(model: ActiveModel) -> list[str]:
    """The host's cache key of the session, which includes the file's digest."""
    names = [model.name, model.digest]
    return [*names, model.converter.stem] if model.converter else names


def get_active_model() -> ActiveModel:
    """The model in use in this app context, since the last `pre_check` or `pre_process`.

    Raises:
        FinetuneError: The selected one is not active, damaged, or of an unsupported type.
    """
    return ACTIVE_MODELS.get(detect_app_context()) or choose_model()


def choose_model(reference: str | None = None) -> ActiveModel:
    """Check a model and use it from now on; errors as in `get_active_model`.

    Args:
        reference: `NAME` or `NAME@VERSION`; if None, the one in the state.
    """
    app_context = detect_app_context()
    model = models.load_model(reference or state_manager.get_item("finetuned_swapper_model"))
    if sources.has_source_image() and FAMILIES[model.card.type].needs_converter:
        model = replace(model, converter=converters.provide_converter(model.card))
    with LOCK:
        previous = ACTIVE_MODELS.get(app_context)
        if previous and previous != model:
            clear_inference_pool()
        ACTIVE_MODELS[app_context] = model
    return model


def get_session() -> Any:
    """The onnxruntime session of the model in use; errors as in `get_active_model`."""
    session = get_inference_pool().get("finetuned_swapper")
    if session is None:
        raise models.create_error("unreadable", name=get_active_model().name, reason="it is gone")
    return session


def get_card(session: Any) -> ModelCard:
    """The card inside the loaded file, which is authoritative.

    Raises:
        FinetuneError: The file has no card, or an unsupported one.
    """
    card = MODEL_CARDS.get(session)
    if card is None:
        model = get_active_model()
        card = decode_metadata(session.get_modelmeta().custom_metadata_map, str(model.path))
        models.check_card(card, model.path)
        MODEL_CARDS[session] = card
    return card


def register_args(program: ArgumentParser) -> None:
    """Add the options, without `choices`, since a deleted person would break every command."""
    group_processors = find_argument_group(program, "processors")
    if group_processors:
        active = choices.label_models()
        default_model = get_first([name for _, name in active])
        labels = ", ".join(label for label, _ in active)
        group_processors.add_argument(
            "--finetuned-swapper-model",
            help=adapter.translate("help.model", __package__).format(active=labels or "none"),
            default=config.get_str_value("processors", "finetuned_swapper_model", default_model),
        )
        group_processors.add_argument(
            "--finetuned-swapper-pixel-boost",
            help=adapter.translate("help.pixel_boost", __package__),
            default=config.get_str_value("processors", "finetuned_swapper_pixel_boost"),
        )
        group_processors.add_argument(
            "--finetuned-swapper-weight",
            help=adapter.translate("help.weight", __package__),
            type=float,
            default=config.get_float_value("processors", "finetuned_swapper_weight", "0.5"),
        )
        job_store.register_step_keys(KEYS)


def apply_args(args: dict[str, Any], apply_state_item: Any) -> None:
    """Set the options in the state and in the UI; jobs stored earlier may lack them."""
    for key in KEYS:
        apply_state_item(key, args.get(key))
    if args.get("command") == "run":
        attach_options()


def attach_options() -> None:
    """Add this processor's options to the UI; it works without them if that fails."""
    try:
        # imports gradio, which only the UI needs
        from facefusion_finetune.facefusion.uis import attach

        attach.attach(report_missing_options)
    except Exception as error:
        report_missing_options(error)


def report_missing_options(error: Exception) -> None:
    """Log why the UI does not show this processor's options."""
    text = adapter.translate("warnings.options", __package__)
    logger.error(text.format(reason=f"{type(error).__name__}: {error}"), __name__)


def get_common_modules() -> list[ModuleType]:
    """The host's modules this one needs, including the content check."""
    return adapter.COMMON_MODULES


def pre_check() -> bool:
    """Whether the common modules and the selected model are intact; logs why not.

    With a UI, an unusable model does not matter yet: another one can be selected there, and
    `pre_process` checks again.
    """
    if not adapter.check_common_modules():
        return False
    try:
        choose_model()
    except FinetuneError as error:
        logger.error(str(error), __name__)
        return bool(state_manager.get_item("command") == "run")
    return True


def pre_process(mode: str) -> bool:
    """Whether a run, a preview or a stream can start; loads the model.

    Args:
        mode: output, preview or stream.
    """
    target_path = state_manager.get_item("target_path")
    output_path = state_manager.get_item("output_path")

    if mode in ["output", "preview"] and not is_image(target_path) and not is_video(target_path):
        return refuse("choose_image_or_video_target")
    if mode == "output" and not in_directory(output_path):
        return refuse("specify_image_or_video_output")
    if mode == "output" and not same_file_extension(target_path, output_path):
        return refuse("match_target_and_output_extension")

    try:
        sources.check_source()
        choose_model()
        card = get_card(get_session())
        swap.get_pixel_boost_size(card)
        swap.get_weight()
        if mode == "output" and not card.judge_result.get("proven"):
            text = adapter.translate("warnings.unproven", __package__)
            logger.warn(text.format(name=card.name), __name__)
    except FinetuneError as error:
        logger.error(str(error), __name__)
        return False
    return True


def refuse(notation: str) -> bool:
    """Log one of the host's messages, as its own processors do."""
    logger.error(adapter.translate(notation) + adapter.translate("exclamation_mark"), __name__)
    return False


def post_process() -> None:
    """Free memory according to the memory strategy."""
    adapter.clear_frame_caches()
    if state_manager.get_item("video_memory_strategy") in ["strict", "moderate"]:
        models.read_static_emap.cache_clear()
        clear_inference_pool()
    if state_manager.get_item("video_memory_strategy") == "strict":
        for common_module in get_common_modules():
            common_module.clear_inference_pool()


def process_frame(inputs: FinetunedSwapperInputs) -> Any:
    """Swap the selected faces of one frame.

    Args:
        inputs: The host's inputs for the frame; without a reference frame for the webcam.

    Returns:
        The frame and its mask, or only the frame for a host without masks.
    """
    temp_vision_frame = inputs["temp_vision_frame"]
    target_vision_frame = adapter.get_target_vision_frame(inputs)
    target_faces = adapter.select_target_faces(inputs)
    if target_faces:
        session = get_session()
        card = get_card(session)
        source = sources.prepare_source(
            inputs.get("source_vision_frames") or [],
            get_active_model(),
            card,
            get_inference_pool().get("embedding_converter"),
        )
        for target_face in target_faces:
            scaled_face = adapter.scale_face(target_face, target_vision_frame, temp_vision_frame)
            temp_vision_frame = swap.swap_face(
                source, scaled_face, session, card, temp_vision_frame
            )
    return adapter.create_outputs(inputs, temp_vision_frame)
