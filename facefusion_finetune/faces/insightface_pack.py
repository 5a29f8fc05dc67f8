"""Finds, checks and opens an insightface model pack; never downloads one."""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facefusion_finetune.errors import HostError
from facefusion_finetune.home import expand_path

PACK_VARIABLE = "FACEFUSION_FINETUNE_INSIGHTFACE"
DEFAULT_PACK = Path("~/.insightface/models/buffalo_l")

DETECTORS = ("det_*.onnx", "scrfd_*.onnx")
LANDMARKER = "1k3d68.onnx"
RECOGNISER = "w600k_r50.onnx"
"""The network whose embeddings drive FaceFusion's swappers. Embeddings of other packs' networks,
such as w600k_mbf.onnx or glintr100.onnx, are meaningless to a swapper."""

PACK_ADVICE = (
    "Download the pack buffalo_l from insightface's releases once, accepting its terms (research"
    f" only), and unpack it there, or set {PACK_VARIABLE} to its folder."
)


@dataclass(frozen=True)
class Pack:
    """The required files of a pack; all of them exist."""

    directory: Path
    detector: Path
    landmarker: Path
    recogniser: Path


def find_pack(given: Path | None = None) -> Pack:
    """Find a model pack.

    Args:
        given: A folder given by the user; if None, `FACEFUSION_FINETUNE_INSIGHTFACE`, or else
            ~/.insightface/models/buffalo_l.

    Raises:
        HostError: There is no such folder, or required files are missing.
    """
    configured = given or os.environ.get(PACK_VARIABLE)
    directory = expand_path(configured or DEFAULT_PACK).absolute()
    origin = "as given" if given else f"{PACK_VARIABLE} {'is' if configured else 'is not'} set"
    if not directory.is_dir():
        raise HostError(
            "insightface's model pack",
            f"there is no folder {directory} ({origin}), and this package does not download it.",
            PACK_ADVICE,
        )
    detectors = sorted(path for pattern in DETECTORS for path in directory.glob(pattern))
    files = [directory / LANDMARKER, directory / RECOGNISER]
    missing = [path.name for path in files if not path.is_file()]
    if not detectors:
        missing.insert(0, f"a detector ({' or '.join(DETECTORS)})")
    if missing:
        raise HostError(
            f"insightface's model pack in {directory} ({origin})",
            f"it lacks {', '.join(missing)}, and this package does not download files."
            f" FaceFusion's swappers are driven by the embeddings of {RECOGNISER}, so no other"
            " recogniser works.",
            PACK_ADVICE,
        )
    return Pack(directory, detectors[0], *files)


def import_insightface() -> Any:
    """Import the library.

    Raises:
        HostError: It is not installed.
    """
    try:
        return importlib.import_module("insightface")
    except ImportError as error:
        raise HostError(
            "insightface",
            f"the library cannot be imported ({error}).",
            "Run pip install 'facefusion-finetune[standalone]', but not in FaceFusion's"
            " environment: it brings its own OpenCV.",
        ) from error


def open_network(path: Path, task: str) -> Any:
    """Open one of insightface's models.

    Only this file is opened: insightface's own `FaceAnalysis` downloads missing packs, and mistakes
    any network with a square input in the folder, even a content classifier, for a recogniser.

    Args:
        path: An existing file.
        task: The task that insightface must detect, for example `detection`.

    Raises:
        HostError: insightface is not installed, cannot open the file, or detects another task.
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
            str(path),
            f"insightface does not recognise it as a {task} model.",
            "Unpack the model pack again.",
        )
    return model
