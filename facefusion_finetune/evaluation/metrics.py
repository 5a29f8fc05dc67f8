"""Metrics of pictures and pairs of pictures. All pictures are BGR, 0 to 255."""

from pathlib import Path
from typing import Any

import cv2
import numpy
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

LPIPS_NETWORK = "alexnet-owt-7be5be79.pth"
"""Torch's file name of torchvision's AlexNet, which LPIPS uses."""

RING_SHARE = 0.05
"""Pixels with a paste mask value between this and one minus this form the ring."""

Values = NDArray[numpy.float64]
Pictures = NDArray[Any]
"""(n, H, W, 3)."""
Weights = NDArray[numpy.float32]
"""(n, H, W), weight of each pixel."""


def measure_face_l1(pictures: Pictures, truths: Pictures, faces: Weights) -> Values:
    """Mean absolute difference inside the face.

    Args:
        pictures: (n, H, W, 3).
        truths: (n, H, W, 3).
        faces: (n, H, W), weight of each pixel.

    Returns:
        (n,), in grey levels.
    """
    difference = numpy.abs(pictures.astype(numpy.float32) - truths.astype(numpy.float32))
    return _weigh(difference.mean(axis=3), faces)


def measure_ssim(pictures: Pictures, truths: Pictures, faces: Weights) -> Values:
    """(n,): structural similarity (Wang et al., 2004) inside the face, 1 for identical pictures.

    Outside the face, the truth is used, so that nothing else differs; arguments as in
    `measure_face_l1`.
    """
    inserted = _to_tensor(insert_faces(pictures, truths, faces))
    _, maps = structural_similarity_index_measure(
        inserted, _to_tensor(truths), data_range=1.0, reduction="none", return_full_image=True
    )
    return _weigh(maps.mean(dim=1).numpy(), faces)


def find_lpips_weights() -> Path | None:
    """AlexNet's weights in torch's cache; None if they are missing, as nothing is downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_NETWORK
    return path if path.is_file() else None


def measure_lpips(pictures: Pictures, truths: Pictures, faces: Weights) -> Values:
    """(n,): LPIPS (Zhang et al., arXiv 1801.03924) inside the face, 0 for identical pictures.

    Requires the file of `find_lpips_weights`; arguments as in `measure_ssim`.
    """
    inserted, goal = _to_tensor(insert_faces(pictures, truths, faces)), _to_tensor(truths)
    distance = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    with torch.no_grad():
        scores = [
            float(distance(inserted[row : row + 1], goal[row : row + 1]))
            for row in range(len(inserted))
        ]
    return numpy.array(scores)


def measure_colour(pictures: Pictures, truths: Pictures, faces: Weights) -> Values:
    """(n,): distance between the face's mean colours in CIELAB (CIE76 delta E)."""
    first, second = (_mean_lab(part, faces) for part in (pictures, truths))
    return numpy.asarray(numpy.linalg.norm(first - second, axis=1))


def measure_seam(pasted: Pictures, originals: Pictures, masks: Weights) -> Values:
    """Edges that pasting back leaves along the mask's border.

    Args:
        pasted: (n, H, W, 3), crops of the frames after pasting back.
        originals: (n, H, W, 3), the same crops before.
        masks: (n, H, W), the paste masks.

    Returns:
        (n,): mean absolute difference of the brightness gradient on the mask's ring, in grey levels
        per pixel.
    """
    rings = ((masks > RING_SHARE) & (masks < 1 - RING_SHARE)).astype(numpy.float32)
    difference = numpy.abs(_gradients(pasted) - _gradients(originals)).sum(axis=3)
    return _weigh(difference, rings)


def measure_flicker(
    pictures: Pictures, targets: Pictures, faces: Weights, followers: NDArray[numpy.int64]
) -> Values:
    """Difference between the frame-to-frame changes of the swapped face and of the target's.

    Args:
        pictures: (n, H, W, 3), swaps.
        targets: (n, H, W, 3), the targets.
        faces: (n, H, W).
        followers: (m, 2), rows of consecutive frames of one clip.

    Returns:
        (m,), in grey levels.
    """
    first, second = followers.T
    moved = pictures[second].astype(numpy.float32) - pictures[first]
    expected = targets[second].astype(numpy.float32) - targets[first]
    return _weigh(
        numpy.abs(moved - expected).mean(axis=3), numpy.minimum(faces[first], faces[second])
    )


def insert_faces(pictures: Pictures, truths: Pictures, faces: Weights) -> Pictures:
    """(n, H, W, 3) float32: the pictures inside the face, the truths outside."""
    shares = faces[..., None]
    return numpy.asarray(pictures * shares + truths * (1 - shares), dtype=numpy.float32)


def warp_crops(
    crops: Pictures, matrices: NDArray[numpy.float64], size: tuple[int, int]
) -> NDArray[numpy.uint8]:
    """Warp the swapper's crops to a recogniser's crops.

    Args:
        crops: (n, H, W, 3).
        matrices: (n, 2, 3), from crop pixels to recogniser pixels.
        size: Width and height of the recogniser's crop.
    """
    return numpy.stack(
        [
            cv2.warpAffine(
                crop.round().astype(numpy.uint8), matrix, size, borderMode=cv2.BORDER_REPLICATE
            )
            for crop, matrix in zip(crops, matrices, strict=True)
        ]
    ).astype(numpy.uint8)


def _weigh(maps: NDArray[Any], weights: NDArray[Any]) -> Values:
    # A completely occluded face has no weight; its score is 0.
    total = numpy.maximum(weights.sum(axis=(1, 2), dtype=numpy.float64), 1e-6)
    return numpy.asarray((maps * weights).sum(axis=(1, 2), dtype=numpy.float64) / total)


def _to_tensor(pictures: Pictures) -> torch.Tensor:
    rgb = pictures[..., ::-1].transpose(0, 3, 1, 2).astype(numpy.float32) / 255
    return torch.from_numpy(numpy.ascontiguousarray(rgb)).clamp(0, 1)


def _mean_lab(pictures: Pictures, faces: Weights) -> Values:
    rows = []
    for picture, face in zip(pictures, faces, strict=True):
        scaled = (picture / 255).clip(0, 1).astype(numpy.float32)
        lab = cv2.cvtColor(scaled, cv2.COLOR_BGR2LAB).reshape(-1, 3)
        rows.append(face.reshape(-1) @ lab / max(float(face.sum()), 1e-6))
    return numpy.array(rows, dtype=numpy.float64)


def _gradients(pictures: Pictures) -> NDArray[numpy.float32]:
    """(n, H, W, 2): horizontal and vertical differences of the brightness."""
    grey = pictures.astype(numpy.float32).mean(axis=3)
    across = numpy.diff(grey, axis=2, append=grey[:, :, -1:])
    down = numpy.diff(grey, axis=1, append=grey[:, -1:])
    return numpy.stack([across, down], axis=3)
