"""Swaps one face of one frame: crop, masks, pixel boost, paste back.

The steps and functions are those of the host's own face swapper, so that the model's inputs are the
same as in training.
"""

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
from facefusion.processors.pixel_boost import explode_pixel_boost, implode_pixel_boost
from facefusion.thread_helper import conditional_thread_semaphore
from facefusion.vision import unpack_resolution

from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import choices, models
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.vectors import balance_source_vector


def get_pixel_boost_size(card: ModelCard) -> tuple[int, int]:
    """Width and height of the crop to swap; the model's own size if none is selected.

    Raises:
        FinetuneError: The selected size is not a multiple of the model's.
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
    """The weight of the source, 0 to 1; 0.5 by default.

    Raises:
        FinetuneError: It is not between 0 and 1.
    """
    weight = state_manager.get_item("finetuned_swapper_weight")
    if weight is None:
        return 0.5
    if not 0 <= weight <= 1:
        raise models.create_error("weight", weight=weight)
    return float(weight)


def swap_face(
    source: Any,
    target_face: Any,
    session: Any,
    card: ModelCard,
    temp_vision_frame: Any,
    pixel_boost_size: tuple[int, int] | None = None,
) -> Any:
    """Swap one face in a copy of the frame.

    Args:
        source: (1, 512) or (1, 3, h, w), from `sources.prepare_source`.
        target_face: The host's face, in frame coordinates.
        session: The loaded model.
        card: Its card.
        temp_vision_frame: H x W x 3, BGR.
        pixel_boost_size: Width and height of the crop to swap; if None, as selected by the user.
    """
    pixel_boost_size = pixel_boost_size or get_pixel_boost_size(card)
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

    family = FAMILIES[card.type]
    if family.picture is None:
        source = balance_source_vector(
            source, target_face.embedding, get_weight(), family.mixes_unit_target
        )
    tile_vision_frames = [
        forward(session, source, tile_vision_frame, card)
        for tile_vision_frame in implode_pixel_boost(
            crop_vision_frame, pixel_boost_total, card.size
        )
    ]
    crop_vision_frame = explode_pixel_boost(
        tile_vision_frames, pixel_boost_total, card.size, pixel_boost_size
    )

    # as in the host, these two masks are computed from the swapped face
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


def forward(session: Any, source: Any, crop_vision_frame: Any, card: ModelCard) -> Any:
    """Swap one crop of the model's own size.

    Args:
        session: The loaded model.
        source: (1, 512) or (1, 3, h, w).
        crop_vision_frame: H x W x 3, BGR, 0 to 255.
        card: Has the normalisation of the input, and of the output by its type.

    Returns:
        H x W x 3, BGR, 0 to 255, as float.
    """
    target = (crop_vision_frame[:, :, ::-1] / 255.0 - card.mean) / card.standard_deviation
    target = target.transpose(2, 0, 1)[numpy.newaxis].astype(numpy.float32)
    with conditional_thread_semaphore():
        output = session.run(None, {"source": source, "target": target})[0][0]
    output = output.transpose(1, 2, 0)
    if FAMILIES[card.type].signed:
        output = output * card.standard_deviation + card.mean
    return output.clip(0, 1)[:, :, ::-1] * 255
