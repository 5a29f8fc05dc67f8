"""A base's crops, warped from the cut-outs when needed, by the analyser that will also swap."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.faces.images import read_png
from facefusion_finetune.faces.protocol import FaceGeometry, Mask, Matrix, VisionFrame
from facefusion_finetune.faces.warp import find_inside
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions


@dataclass(frozen=True)
class AlignedCrop:
    """One kept face, aligned to a base swapper's template."""

    record: CropRecord
    cutout: VisionFrame
    crop: VisionFrame
    """(H, W, 3) at the base's size."""
    matrix: Matrix
    """From the cut-out to the crop."""
    face: Mask
    """(H, W): 1 on the face where it is not occluded."""
    features: Mask
    """(H, W): 1 on eyes and mouth."""

    def paste(
        self, swapped: NDArray[Any], analyser: FaceGeometry, cutout: VisionFrame | None = None
    ) -> VisionFrame:
        """The cut-out, or another picture of its size, with a swapped crop pasted back."""
        mask = analyser.create_paste_mask(self.crop)
        under = self.cutout if cutout is None else cutout
        return analyser.paste_back(under, swapped, mask, self.matrix)

    def crop_again(
        self, cutout: VisionFrame, analyser: FaceGeometry, options: SwapperOptions
    ) -> VisionFrame:
        """The aligned crop of this face in another picture of the cut-out's size."""
        landmark_5 = self.record.landmarks_in_cutout()
        return analyser.warp_face(cutout, landmark_5, options.template, options.size)[0]

    def matrix_to(self, analyser: FaceGeometry, recogniser: RecogniserOptions) -> Matrix:
        """2 x 3 matrix from this crop's pixels to the recogniser's crop of the same face."""
        landmark_5 = self.record.landmarks_in_cutout()
        _, matrix = analyser.warp_face(
            self.cutout, landmark_5, recogniser.template, recogniser.size
        )
        back = cv2.invertAffineTransform(self.matrix)
        row = numpy.array([[0.0, 0.0, 1.0]])
        joined: Matrix = numpy.vstack([matrix, row]) @ numpy.vstack([back, row])
        return joined[:2]


def load_crops(
    person: Person, records: list[CropRecord], analyser: FaceGeometry, options: SwapperOptions
) -> list[AlignedCrop]:
    """Warp the base's crops from the cut-outs of a person's `records`; see `load_folder`."""
    return load_folder(manifest.crops_directory(person), records, analyser, options)


def load_folder(
    folder: Path, records: list[CropRecord], analyser: FaceGeometry, options: SwapperOptions
) -> list[AlignedCrop]:
    """Warp the base's crops from the cut-outs of `records` in a folder.

    Raises:
        DatasetError: A cut-out is missing or damaged.
    """
    crops = []
    for record in records:
        cutout = _read(folder / manifest.cutout_name(record.id))
        masks = _read(folder / manifest.masks_name(record.id))
        landmark_5 = record.landmarks_in_cutout()
        crop, matrix = analyser.warp_face(cutout, landmark_5, options.template, options.size)
        aligned, _ = analyser.warp_face(masks, landmark_5, options.template, options.size)
        shares = aligned.astype(numpy.float32) / numpy.float32(255)
        features, visible, face = shares[..., 0], shares[..., 1], shares[..., 2]
        # Beyond the frame, the crop repeats the frame's border, and so do its masks.
        visible = visible * find_inside(cutout.shape[1::-1], matrix, options.size)
        crops.append(AlignedCrop(record, cutout, crop, matrix, face * visible, features * visible))
    return crops


def _read(path: Path) -> VisionFrame:
    pixels = read_png(path)
    if pixels is None:
        raise DatasetError(
            str(path),
            "this cut-out is missing or damaged.",
            "Extract the footage again: facefusion-finetune extract NAME SOURCE.",
        )
    return pixels
