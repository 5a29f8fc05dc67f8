"""Every difference between the FaceFusion versions 3.4 to 3.8, in one place.

Import it only where `facefusion` can be imported: inside FaceFusion, or after
`faces.facefusion` has found the folder. All host names that the processor needs are imported at the
top of this module or of the processor, so that the shim notices at once when a host renames one,
not in the middle of a run.

Identical in all these versions and therefore used directly: `state_manager`, `logger`, `config`,
`inference_manager.get_inference_pool`, `process_manager`, `filesystem`, `face_helper`,
`face_masker`, `pixel_boost`, `job_store`, `download`, and how the face swapper lists its models. No
provider hook (`resolve_execution_providers` to 3.6, `resolve_inference_providers` in 3.7, `adjust_`
and `override_inference_providers` from 3.8) is defined: without one, every version uses the
execution providers the user chose.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import facefusion
import facefusion.choices
import numpy
import onnxruntime
from facefusion import (
    content_analyser,
    face_classifier,
    face_detector,
    face_landmarker,
    face_masker,
    face_recognizer,
    face_store,
    inference_manager,
    process_manager,
    state_manager,
    video_manager,
    vision,
)
from facefusion.download import conditional_download_hashes, conditional_download_sources
from facefusion.face_selector import select_faces

try:
    from facefusion import face_creator

    average_faces = face_creator.average_face_identity
    clear_face_store = face_store.clear_faces
    get_static_faces = face_creator.get_static_faces
    HAS_FRAME_LIST = True
except ImportError:  # up to 3.6; get_many_faces itself stores what it found
    from facefusion import face_analyser as face_creator

    average_faces = face_creator.get_average_face
    clear_face_store = face_store.clear_static_faces
    get_static_faces = face_creator.get_many_faces
    HAS_FRAME_LIST = False

try:
    from facefusion import translator
except ImportError:  # up to 3.4
    from facefusion import wording

    translator = None

get_many_faces = face_creator.get_many_faces
scale_face = face_creator.scale_face

HOST_PATH = Path(facefusion.__file__).resolve().parents[1]
"""The FaceFusion folder."""

PARSER_MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32).reshape(3, 1, 1)
PARSER_STANDARD_DEVIATION = numpy.array([0.229, 0.224, 0.225], numpy.float32).reshape(3, 1, 1)
"""Of the parser's RGB inputs in 0..1, as for all networks trained on ImageNet."""

COMMON_MODULES: list[ModuleType] = [
    content_analyser,
    face_classifier,
    face_detector,
    face_landmarker,
    face_masker,
    face_recognizer,
]


def check_common_modules() -> bool:
    """Run `pre_check` of all common modules; the host is never left in the state 'checking'."""
    if all(module.pre_check() for module in COMMON_MODULES):
        return True
    # the host ends its own check only on success, and other code waits for that end
    process_manager.end()
    return False


def detect_faces(vision_frame: Any) -> list[Any]:
    """All faces of a frame; nothing stays in the host's face store.

    Args:
        vision_frame: H x W x 3, BGR.
    """
    faces: list[Any] = get_many_faces([vision_frame])
    if not HAS_FRAME_LIST:
        clear_face_store()
    return faces


def disable_thread_spinning() -> None:
    """Let onnxruntime's threads sleep between two runs.

    By default they spin, which takes cores from the threads that decode, crop and write at the same
    time. Affects only sessions created later, and nothing else about them.
    """
    create = inference_manager.InferenceSession
    if create is not onnxruntime.InferenceSession:
        return

    def create_without_spinning(model_path: str, *arguments: Any, **options: Any) -> Any:
        if not arguments and "sess_options" not in options:
            session_options = onnxruntime.SessionOptions()
            session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options["sess_options"] = session_options
        return create(model_path, *arguments, **options)

    inference_manager.InferenceSession = create_without_spinning


def parse_face(crop_vision_frame: Any) -> tuple[Any, Mapping[str, int]]:
    """The host's face parser on an aligned crop, run once for all regions.

    The host itself runs it again for each set of regions.

    Args:
        crop_vision_frame: H x W x 3, BGR.

    Returns:
        (classes, h, w) scores at the parser's own size, and the class of each region by name.
    """
    model_name = state_manager.get_item("face_parser_model")
    model_size = get_model_set(face_masker)[model_name]["size"]
    rgb = cv2.resize(crop_vision_frame, model_size)[:, :, ::-1].transpose(2, 0, 1)
    scale = 1 / (255 * PARSER_STANDARD_DEVIATION)
    inputs = rgb * scale - PARSER_MEAN / PARSER_STANDARD_DEVIATION
    scores = face_masker.forward_parse_face(inputs[numpy.newaxis].astype(numpy.float32))
    return scores, facefusion.choices.face_mask_region_set


def get_target_vision_frame(inputs: Mapping[str, Any]) -> Any:
    """The frame to find faces in; since 3.7, the middle of a list."""
    if "target_vision_frames" in inputs:
        target_vision_frames = inputs["target_vision_frames"]
        return target_vision_frames[len(target_vision_frames) // 2]
    return inputs["target_vision_frame"]


def select_target_faces(inputs: Mapping[str, Any]) -> list[Any]:
    """The faces to swap, according to the host's face selector settings."""
    reference_vision_frame = inputs.get("reference_vision_frame")
    if HAS_FRAME_LIST:
        source_vision_frames = inputs.get("source_vision_frames") or []
        target_vision_frames = inputs["target_vision_frames"]
        target_faces = select_faces(
            reference_vision_frame, source_vision_frames, target_vision_frames
        )
    else:
        target_faces = select_faces(reference_vision_frame, inputs["target_vision_frame"])
    return list(target_faces or [])


def create_outputs(inputs: Mapping[str, Any], temp_vision_frame: Any) -> Any:
    """What `process_frame` returns; since 3.5, the frame and its mask."""
    if "temp_vision_mask" in inputs:
        return temp_vision_frame, inputs["temp_vision_mask"]
    return temp_vision_frame


def translate(notation: str, package: str | None = None) -> str:
    """A text from the host's locales, or from `package`.locales.

    Args:
        notation: Dotted key.
        package: Full name of the package whose `locales` has the text; None for the host's.
    """
    text: str | None
    if translator is not None:
        text = translator.get(notation, package or "facefusion")
    elif package is None:
        text = wording.get(notation)
    else:
        text = _find_text(importlib.import_module(package + ".locales").LOCALES["en"], notation)
    return text or notation


def clear_frame_caches() -> None:
    """Drop every frame and every open video that the host caches between steps."""
    for name in ("read_static_image", "read_static_video_frame", "read_static_video_chunk"):
        read = getattr(vision, name, None)
        if read is not None:
            read.cache_clear()
    video_manager.clear_video_pool()


def load_processor_module(processor: str) -> ModuleType:
    """One of the host's processors, by name."""
    name = "facefusion.processors.modules." + processor
    if translator is not None:
        name += ".core"
    return importlib.import_module(name)


def get_model_set(module: ModuleType) -> Mapping[str, Mapping[str, Any]]:
    """The options of all models of a host module, by name; asks the download providers once."""
    model_set: Mapping[str, Mapping[str, Any]] = module.create_static_model_set("full")
    return model_set


def get_face_swapper_set() -> Mapping[str, Mapping[str, Any]]:
    """The options of all the host's face swappers, by name."""
    return get_model_set(load_processor_module("face_swapper"))


def provide_files(hashes: Mapping[str, Any], sources: Mapping[str, Any]) -> bool:
    """Let the host download published files that are missing or damaged.

    The host deletes a damaged source that it cannot download: never pass a person's model. The host
    is never left in the state 'checking'.

    Args:
        hashes: Entries with `url` and `path`, by key.
        sources: The same for the files themselves.

    Returns:
        Whether all files are present and intact.
    """
    if conditional_download_hashes(hashes) and conditional_download_sources(sources):
        return True
    process_manager.end()
    return False


def _find_text(texts: Mapping[str, Any], notation: str) -> str | None:
    current: Any = texts
    for fragment in notation.split("."):
        current = current.get(fragment) if isinstance(current, Mapping) else None
    return current if isinstance(current, str) else None
