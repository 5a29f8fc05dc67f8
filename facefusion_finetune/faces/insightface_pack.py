"""An insightface model pack: looked for, checked, opened; never downloaded."""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facefusion_finetune.errors import HostError

PACK_VARIABLE = "FACEFUSION_FINETUNE_INSIGHTFACE"
USUAL_PLACE = Path("~/.insightface/models/buffalo_l")

DETECTORS = ("det_*.onnx", "scrfd_*.onnx")
LANDMARKER = "1k3d68.onnx"
RECOGNISER = "w600k_r50.onnx"
"""The network whose vectors FaceFusion drives its swappers by. Those of other packs, such as
w600k_mbf.onnx or glintr100.onnx, mean nothing to a swapper."""

GET_IT = (
    "Get the pack buffalo_l from insightface's releases, once, where you accept its terms (research"
    f" only), and unpack it there, or set {PACK_VARIABLE} to its folder."
)


@dataclass(frozen=True)
class Pack:
    """Files of a pack that are needed; all of them are there."""

    directory: Path
    detector: Path
    landmarker: Path
    recogniser: Path


def find_pack(given: Path | None = None) -> Pack:
    """Look for a model pack.

    Args:
        given: A folder the user named; else `FACEFUSION_FINETUNE_INSIGHTFACE`, else
            ~/.insightface/models/buffalo_l.

    Raises:
        HostError: There is no such folder, or what is needed of it is missing.
    """
    configured = given or os.environ.get(PACK_VARIABLE)
    directory = Path(configured or USUAL_PLACE).expanduser().absolute()
    origin = "as given" if given else f"{PACK_VARIABLE} {'is' if configured else 'is not'} set"
    if not directory.is_dir():
        raise HostError(
            "insightface's model pack",
            f"there is no folder {directory} ({origin}), and nothing is downloaded here.",
            GET_IT,
        )
    detectors = sorted(path for pattern in DETECTORS for path in directory.glob(pattern))
    files = [directory / LANDMARKER, directory / RECOGNISER]
    missing = [path.name for path in files if not path.is_file()]
    if not detectors:
        missing.insert(0, f"a detector ({' or '.join(DETECTORS)})")
    if missing:
        raise HostError(
            f"insightface's model pack in {directory} ({origin})",
            f"it lacks {', '.join(missing)}, and nothing is downloaded here. FaceFusion's swappers"
            f" are driven by the vectors of {RECOGNISER}, so that no other recogniser will do.",
            GET_IT,
        )
    return Pack(directory, detectors[0], *files)


def import_insightface() -> Any:
    """The library.

    Raises:
        HostError: It is not installed.
    """
    try:
        return importlib.import_module("insightface")
    except ImportError as error:
        raise HostError(
            "insightface",
            f"the library cannot be imported ({error}).",
            "pip install 'facefusion-finetune[standalone]', not beside a FaceFusion: it brings an"
            " OpenCV of its own.",
        ) from error


def open_network(path: Path, task: str) -> Any:
    """One of insightface's models.

    It is opened by its file alone: insightface's own `FaceAnalysis` downloads a pack it does not
    find, and takes any square network in the folder, a content classifier too, for a recogniser.

    Args:
        path: An existing file.
        task: What insightface has to take it for, for example `detection`.

    Raises:
        HostError: insightface is not installed, cannot open the file, or takes it for another one.
    """
    try:
        model = import_insightface().model_zoo.get_model(str(path))
    except Exception as error:  # onnx and onnxruntime share no narrower base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HostError(
            str(path), f"insightface cannot open it ({reason}).", "Unpack the model pack again."
        ) from error
    if getattr(model, "taskname", None) != task:
        raise HostError(
            str(path), f"insightface does not take it for {task}.", "Unpack the model pack again."
        )
    return model
