"""Compares two models on one frame, without activating either.

A damaged file in the host's inference pool ends the whole process, so files are checked first.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from facefusion import content_analyser, inference_manager, state_manager, vision
from facefusion.filesystem import is_image, is_video

from facefusion_finetune import home
from facefusion_finetune.dataset.review.thumbnails import thumbnails_directory
from facefusion_finetune.errors import FinetuneError, FootageError, RegistryError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import (
    models,
    sources,
    swap,
)
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.types import ActiveModel
from facefusion_finetune.faces.ffmpeg import probe_video
from facefusion_finetune.faces.images import encode_png
from facefusion_finetune.host import adapter
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import Person, confirm_consent, load_person
from facefusion_finetune.registry import store
from facefusion_finetune.registry.bases import check_graph
from facefusion_finetune.runs.run import Run, RunConfig
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.files.bases import (
    bases_directory,
    check_base,
    digest_file,
    name_base,
)
from facefusion_finetune.swappers.source import restore_source

KEY = "finetuned_swapper"
"""Key of the model in its session pool."""

MAX_DOUBLINGS = 10
"""How many times the distance to the end of a video is doubled to find a readable frame."""

LOCK = threading.Lock()
"""Two concurrent comparisons would load four models and free each other's sessions."""


@dataclass(frozen=True)
class Side:
    """One side: a run's model, or the base it was tuned from, driven by the same person."""

    run: Run
    is_base: bool = False

    @property
    def name(self) -> str:
        """Name for error messages."""
        return f"base of {self.run.reference}" if self.is_base else f"model {self.run.reference}"

    def load_person(self) -> Person:
        """The person to swap in; errors as in `profile.load_person`."""
        return load_person(self.run.record.person)


def draw_comparison(first: Side, second: Side, vision_frame: Any) -> tuple[Path, Path]:
    """`compare_models`, written as pictures to the persons' folders; earlier ones are deleted.

    Args and errors as in `compare_models`; also OSError, if a picture cannot be written.

    Returns:
        Two PNGs, each in the folder of the person it shows.
    """
    vision_frames = compare_models(first, second, vision_frame)
    folders = [thumbnails_directory(side.load_person()) for side in (first, second)]
    for folder in folders:
        for path in folder.glob("compare-*.png"):
            path.unlink(missing_ok=True)
    token = secrets.token_hex(8)
    left, right = (
        _write_picture(folder / f"compare-{token}-{number}.png", pixels)
        for number, (folder, pixels) in enumerate(zip(folders, vision_frames, strict=True), 1)
    )
    return left, right


def compare_models(first: Side, second: Side, vision_frame: Any) -> tuple[Any, Any]:
    """Swap all faces of a frame with each model, with FaceFusion's masks, weight and pixel boost.

    Args:
        first: One side.
        second: The other side.
        vision_frame: H x W x 3, BGR.

    Returns:
        The two swapped frames, H x W x 3, BGR.

    Raises:
        ConsentError: A person has no valid consent on record.
        FootageError: FaceFusion's content check refuses the frame, or it shows no face.
        RegistryError: A model is not finished or damaged, or its base is missing.
    """
    for side in (first, second):
        confirm_consent(side.run.record.person)
    with LOCK:
        if content_analyser.analyse_frame(vision_frame):
            raise FootageError(
                "frame",
                "FaceFusion's content check refuses it.",
                "Select another frame.",
            )
        target_faces = adapter.detect_faces(vision_frame)
        if not target_faces:
            raise FootageError(
                "frame", "no face was found in it.", "Select a frame that shows a face clearly."
            )
        swapped = swap_frame(first, target_faces, vision_frame)
        if second == first:
            return swapped, swapped
        return swapped, swap_frame(second, target_faces, vision_frame)


def swap_frame(side: Side, target_faces: list[Any], vision_frame: Any) -> Any:
    """Swap the given faces in a copy of the frame. Errors as in `compare_models`."""
    model = prepare_model(side)
    source = sources.prepare_source([], model, model.card, None)
    size = _choose_size(model.card)
    try:
        with open_session(model) as session:
            for target_face in target_faces:
                vision_frame = swap.swap_face(
                    source, target_face, session, model.card, vision_frame, size
                )
    except FinetuneError:
        raise
    except Exception as error:  # onnxruntime's own exceptions share no narrower base class
        raise _create_error(side, f"it cannot be run ({error})") from error
    return vision_frame


def prepare_model(side: Side) -> ActiveModel:
    """Find and check the file of one side.

    Raises:
        RegistryError: It is not finished, damaged, of an unknown type, or missing.
    """
    run = side.run
    store.require_finished(run)
    try:
        card = store.read_card(run.model_path)
        models.check_card(card, run.model_path)
        path = find_base(run, card) if side.is_base else run.model_path
        digest = card.base_sha256 if side.is_base else _check_tuned(run, card)
        emap = models.read_static_emap(path, digest)
        if emap is None and FAMILIES[card.type].needs_emap:
            raise models.create_error("no_emap", name=card.name, type=card.type)
        restore_source(card, emap)
    except FinetuneError:
        raise
    except Exception as error:  # a damaged file raises many kinds of exceptions
        raise _create_error(side, f"it is damaged ({error})") from error
    return ActiveModel(path, digest, card)


def find_base(run: Run, card: ModelCard) -> Path:
    """Find the base file of a run by its digest.

    Raises:
        RegistryError: It is not on this machine.
    """
    beside = name_base(card.base_name, card.base_sha256)
    paths = [
        run.directory / beside,
        bases_directory() / beside,
        models_directory(adapter.HOST_PATH).parent / f"{card.base_name}.onnx",
    ]
    if isinstance(run.record, RunConfig):
        paths.append(Path(run.record.base_argument))
    for path in paths:
        if path.is_file() and digest_file(path) == card.base_sha256:
            return path
    raise RegistryError(
        f"base of {run.reference}",
        f"there is no {card.base_name} with sha256 {card.base_sha256[:16]}… on this machine.",
        f"Use {card.base_name} once in FaceFusion, which downloads it.",
    )


@contextmanager
def open_session(model: ActiveModel) -> Iterator[Any]:
    """The host's session of a checked model; freed afterwards.

    Args:
        model: A model from `prepare_model`.
    """
    model_names = ["compare", model.digest]
    model_source_set = {KEY: {"path": str(model.path)}}
    pool = inference_manager.get_inference_pool(__name__, model_names, model_source_set)
    try:
        yield pool[KEY]
    finally:
        inference_manager.clear_inference_pool(__name__, model_names)


def count_frames(path: str | None) -> int:
    """Number of frames: 1 for a picture, 0 for other or unreadable files."""
    if path and is_image(path):
        return 1
    if not path or not is_video(path):
        return 0
    try:
        with _open_video(path) as video:
            return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    except FootageError:
        return 0


def read_frame(path: str, number: int = 0) -> Any:
    """Read one frame without leaving it in the host's caches.

    Args:
        path: A picture or a video.
        number: Index of a video's frame, from 0. If the video has fewer frames than it claims, the
            last one or one shortly before it is read.

    Returns:
        H x W x 3, BGR.

    Raises:
        FootageError: It cannot be read.
    """
    vision_frame = None
    if is_image(path):
        vision_frame = vision.read_image(path)
    elif is_video(path):
        with _open_video(path) as video:
            for back in (0, *(1 << power for power in range(MAX_DOUBLINGS))):
                video.set(cv2.CAP_PROP_POS_FRAMES, max(number - back, 0))
                vision_frame = video.read()[1]
                if vision_frame is not None or back >= number:
                    break
    if vision_frame is None:
        raise FootageError(
            path,
            "the frame cannot be read.",
            "Select another frame or file, for example a png, jpg or mp4.",
        )
    return vision_frame


def find_target() -> str | None:
    """FaceFusion's current target, if it is a picture or a video."""
    path = state_manager.get_item("target_path")
    return path if path and (is_image(path) or is_video(path)) else None


@contextmanager
def _open_video(path: str) -> Iterator[Any]:
    # OpenCV's own ffmpeg would follow a playlist, and decode pictures of any size.
    probe_video(Path(path))
    video = cv2.VideoCapture(path)
    try:
        yield video
    finally:
        video.release()


def _check_tuned(run: Run, card: ModelCard) -> str:
    """The crc32 of a run's model, after checking its file and base."""
    path = run.model_path
    check_base(path, hard_links=True)
    check_graph(store.read_model(path), card)
    stat = path.stat()
    return models.calculate_static_digest(path, stat.st_mtime_ns, stat.st_size)


def _write_picture(path: Path, vision_frame: Any) -> Path:
    # Without parents: a person being removed must not reappear.
    path.parent.mkdir(mode=0o700, exist_ok=True)
    home.write_bytes(path, encode_png(vision_frame.round().clip(0, 255).astype("uint8")))
    return path


def _choose_size(card: ModelCard) -> tuple[int, int]:
    """The selected pixel boost if it fits this model, otherwise the model's own size."""
    try:
        return swap.get_pixel_boost_size(card)
    except FinetuneError:
        return card.size


def _create_error(side: Side, why: str) -> RegistryError:
    todo = "Select another version; if the error persists, train or import this one again."
    return RegistryError(side.name, f"{why}.", todo)
