"""One face of one frame: source vector, crop, masks, pixel boost, paste back.

The same steps as in the host's own face swapper, by the host's own functions, so that the model is
fed as it was trained.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy
from facefusion import state_manager
from facefusion.face_helper import paste_back, warp_face_by_face_landmark_5
from facefusion.face_masker import (
    create_area_mask,
    create_box_mask,
    create_occlusion_mask,
    create_region_mask,
)
from facefusion.face_selector import sort_faces_by_order
from facefusion.filesystem import filter_image_paths, is_audio, is_image
from facefusion.model_helper import get_static_model_initializer
from facefusion.processors.pixel_boost import explode_pixel_boost, implode_pixel_boost
from facefusion.thread_helper import conditional_thread_semaphore
from facefusion.vision import read_static_images, unpack_resolution

from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import choices, models
from facefusion_finetune.host import adapter
from facefusion_finetune.registry.card import ModelCard
from facefusion_finetune.swappers.vectors import balance_source_vector, prepare_source_vector


def check_source() -> None:
    """Check that a given source shows a face; none need be given.

    Raises:
        FinetuneError: A source file cannot be read, or shows no face.
    """
    source_paths = state_manager.get_item("source_paths") or []
    paths = ", ".join(source_paths)
    if not all(is_image(path) or is_audio(path) for path in source_paths):
        raise models.create_error("source", paths=paths)
    source_image_paths = filter_image_paths(source_paths)
    if source_image_paths and not extract_source_face(read_static_images(source_image_paths)):
        raise models.create_error("source_face", paths=paths)


def get_pixel_boost_size(card: ModelCard) -> tuple[int, int]:
    """Width and height of the crop to swap; the model's own size if nothing is chosen.

    Raises:
        FinetuneError: The chosen one is no multiple of the model's size.
    """
    pixel_boost = state_manager.get_item("finetuned_swapper_pixel_boost")
    if not pixel_boost:
        return card.size
    pixel_boosts = choices.list_pixel_boosts(card.size)
    if pixel_boost not in pixel_boosts:
        raise models.create_error(
            "pixel_boost",
            pixel_boost=pixel_boost,
            name=card.name,
            choices=", ".join(pixel_boosts),
        )
    width, height = unpack_resolution(pixel_boost)
    return width, height


def get_weight() -> float:
    """The weight of the source, 0 to 1; 0.5 if nothing is chosen.

    Raises:
        FinetuneError: It is not between 0 and 1.
    """
    weight = state_manager.get_item("finetuned_swapper_weight")
    if weight is None:
        return 0.5
    if not 0 <= weight <= 1:
        raise models.create_error("weight", weight=weight)
    return float(weight)


def extract_source_face(source_vision_frames: list[Any]) -> Any | None:
    """The largest face of every source image, averaged; None if there is none."""
    source_faces = []
    for source_vision_frame in source_vision_frames:
        if source_vision_frame is not None:
            temp_faces = adapter.get_static_faces([source_vision_frame])
            source_faces.extend(sort_faces_by_order(temp_faces, "large-small")[:1])
    return adapter.average_faces(source_faces)


def prepare_source(source_vision_frames: list[Any], path: Path, card: ModelCard) -> Any:
    """Source input, (1, 512): of the given source's face, else of the person in the card.

    Args:
        source_vision_frames: Source images, H x W x 3, BGR; may be empty.
        path: The model file, which holds the emap.
        card: Its card.
    """
    source_face = extract_source_face(source_vision_frames)
    embedding = source_face.embedding if source_face else card.get_vector()
    emap = get_static_model_initializer(str(path))
    return prepare_source_vector(embedding, emap)


def swap_face(
    source_vector: Any, target_face: Any, session: Any, card: ModelCard, temp_vision_frame: Any
) -> Any:
    """A copy of the frame with one face swapped.

    Args:
        source_vector: (1, 512).
        target_face: The host's face, in the coordinates of the frame.
        session: The loaded model.
        card: Its card.
        temp_vision_frame: H x W x 3, BGR.
    """
    pixel_boost_size = get_pixel_boost_size(card)
    pixel_boost_total = pixel_boost_size[0] // card.size[0]
    crop_vision_frame, affine_matrix = warp_face_by_face_landmark_5(
        temp_vision_frame, target_face.landmark_set.get("5/68"), card.template, pixel_boost_size
    )
    face_mask_types = state_manager.get_item("face_mask_types")
    crop_masks = []
    if "box" in face_mask_types:
        face_mask_blur = state_manager.get_item("face_mask_blur")
        face_mask_padding = state_manager.get_item("face_mask_padding")
        crop_masks.append(create_box_mask(crop_vision_frame, face_mask_blur, face_mask_padding))
    if "occlusion" in face_mask_types:
        crop_masks.append(create_occlusion_mask(crop_vision_frame))

    source_vector = balance_source_vector(source_vector, target_face.embedding, get_weight())
    tile_vision_frames = [
        forward(session, source_vector, tile_vision_frame, card)
        for tile_vision_frame in implode_pixel_boost(
            crop_vision_frame, pixel_boost_total, card.size
        )
    ]
    crop_vision_frame = explode_pixel_boost(
        tile_vision_frames, pixel_boost_total, card.size, pixel_boost_size
    )

    # these two look at the swapped face, as in the host
    if "area" in face_mask_types:
        face_landmark_68 = target_face.landmark_set.get("68").reshape(1, -1, 2)
        face_landmark_68 = cv2.transform(face_landmark_68, affine_matrix).reshape(-1, 2)
        face_mask_areas = state_manager.get_item("face_mask_areas")
        crop_masks.append(create_area_mask(crop_vision_frame, face_landmark_68, face_mask_areas))
    if "region" in face_mask_types:
        face_mask_regions = state_manager.get_item("face_mask_regions")
        crop_masks.append(create_region_mask(crop_vision_frame, face_mask_regions))

    crop_mask = numpy.minimum.reduce(crop_masks).clip(0, 1)
    return paste_back(temp_vision_frame, crop_vision_frame, crop_mask, affine_matrix)


def forward(session: Any, source_vector: Any, crop_vision_frame: Any, card: ModelCard) -> Any:
    """Swap one crop of the model's own size.

    Args:
        session: The loaded model.
        source_vector: (1, 512).
        crop_vision_frame: H x W x 3, BGR, 0 to 255.
        card: Says how the input is normalised; the output of an inswapper is RGB in 0..1.

    Returns:
        H x W x 3, BGR, 0 to 255, as float.
    """
    target = (crop_vision_frame[:, :, ::-1] / 255.0 - card.mean) / card.standard_deviation
    target = target.transpose(2, 0, 1)[numpy.newaxis].astype(numpy.float32)
    with conditional_thread_semaphore():
        output = session.run(None, {"source": source_vector, "target": target})[0][0]
    return output.transpose(1, 2, 0).clip(0, 1)[:, :, ::-1] * 255
