"""FaceFusion's settings that affect which faces are found, and how they are pasted back."""

from collections.abc import Callable, Container
from typing import Any

SETTING_KEYS = (
    "config_path",
    "temp_path",
    "download_providers",
    "face_detector_model",
    "face_detector_size",
    "face_detector_margin",
    "face_detector_angles",
    "face_detector_score",
    "face_landmarker_model",
    "face_landmarker_score",
    "reference_face_distance",
    "face_occluder_model",
    "face_parser_model",
    "face_mask_types",
    "face_mask_areas",
    "face_mask_regions",
    "face_mask_blur",
    "face_mask_padding",
    "execution_device_ids",
    "execution_providers",
    "execution_thread_count",
    "video_memory_strategy",
    "system_memory_limit",
)
"""Names in FaceFusion's state; each is an argument of `headless-run` in the versions that have
it."""


def collect_settings(
    get_item: Callable[[str], Any], known: Container[str] | None = None
) -> dict[str, Any]:
    """FaceFusion's current settings, in a form that can be passed to another process.

    Args:
        get_item: Returns a setting's value; None if it is not set, or this version lacks it.
        known: Settings that this version has; None to rely on `get_item`.

    Returns:
        Texts, numbers and lists of them; values that mean the default are omitted.
    """
    found = {}
    for key in SETTING_KEYS:
        if known is not None and key not in known:
            continue
        value = get_item(key)
        value = [_convert(one) for one in value] if _is_sequence(value) else _convert(value)
        # There is no argument for "no value".
        if value not in (None, "", []):
            found[key] = value
    return found


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _convert(value: Any) -> Any:
    """A number as the command line expects it: sliders give 4.0 for 4, and 0.30000000000000004."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 2)
    return value
