"""The source of a swap: the face of a given source, otherwise the person in the model."""

from typing import Any

from facefusion import state_manager
from facefusion.face_helper import warp_face_by_face_landmark_5
from facefusion.face_selector import sort_faces_by_order
from facefusion.filesystem import filter_image_paths, is_audio, is_image
from facefusion.thread_helper import conditional_thread_semaphore
from facefusion.vision import read_static_images

from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import models
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper.types import ActiveModel
from facefusion_finetune.host import adapter
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.source import restore_source
from facefusion_finetune.swappers.vectors import (
    create_source_vector,
    cut_source_picture,
    prepare_source_inputs,
)


def has_source_image() -> bool:
    """Whether a source image is given."""
    return bool(filter_image_paths(state_manager.get_item("source_paths") or []))


def check_source() -> None:
    """Check that a given source shows a face; a source is optional.

    Raises:
        FinetuneError: A source file cannot be read, or shows no face.
    """
    source_paths = state_manager.get_item("source_paths") or []
    paths = ", ".join(source_paths)
    if not all(is_image(path) or is_audio(path) for path in source_paths):
        raise models.create_error("source", paths=paths)
    source_image_paths = filter_image_paths(source_paths)
    if source_image_paths and not find_source_faces(read_static_images(source_image_paths)):
        raise models.create_error("source_face", paths=paths)


def find_source_faces(source_vision_frames: list[Any]) -> list[tuple[Any, Any]]:
    """The largest face of every source image that shows a face, with the image."""
    source_faces = []
    for source_vision_frame in source_vision_frames:
        if source_vision_frame is not None:
            temp_faces = adapter.get_static_faces([source_vision_frame])
            for temp_face in sort_faces_by_order(temp_faces, "large-small")[:1]:
                source_faces.append((source_vision_frame, temp_face))
    return source_faces


def prepare_source(
    source_vision_frames: list[Any], model: ActiveModel, card: ModelCard, converter: Any | None
) -> Any:
    """Source input of the given source's face, otherwise of the person in the card.

    Args:
        source_vision_frames: Source images, H x W x 3, BGR; may be empty.
        model: The model in use.
        card: The card inside it.
        converter: Session of the host's embedding converter, if a given source needs it.

    Returns:
        (1, 512), or (1, 3, h, w) for a picture-driven model.

    Raises:
        FinetuneError: A given source needs a converter, and there is none.
    """
    family = FAMILIES[card.type]
    emap = models.read_static_emap(model.path, model.digest) if family.needs_emap else None
    source_faces = find_source_faces(source_vision_frames)
    if not source_faces:
        return prepare_source_inputs(restore_source(card, emap)[None])
    if family.picture:
        # like the host, use only the first picture
        source_vision_frame, source_face = source_faces[0]
        face_landmark_5 = source_face.landmark_set.get("5/68")
        picture = cut_source_picture(
            family, source_vision_frame, face_landmark_5, warp_face_by_face_landmark_5
        )
        return prepare_source_inputs(picture[None])
    source_face = adapter.average_faces([source_face for _, source_face in source_faces])
    if family.source == "unit":
        # for several faces, this is the mean of their unit vectors, with a norm below 1
        return prepare_source_inputs(source_face.embedding_norm.reshape(1, -1))

    def convert(embedding: Any) -> Any:
        if converter is None:
            raise models.create_error("converter", name=card.name, path=model.converter)
        with conditional_thread_semaphore():
            return converter.run(None, {"input": embedding})[0]

    return create_source_vector(family, source_face.embedding, emap, convert)
