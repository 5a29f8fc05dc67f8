"""Runs the frozen base on arrays of crops, and creates cycle inputs.

G0 is the frozen base, P the person. A cycle input is G0's swap of someone else onto a frame of P,
pasted back through the host's mask and cropped again.
"""

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceGeometry, VisionFrame
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.sessions import normalise_crops, rgb_to_crops, scale_output
from facefusion_finetune.swappers.vectors import prepare_source_inputs

FORWARD_BATCH = 8


Forward = Callable[[NDArray[numpy.float32], NDArray[numpy.float32]], NDArray[numpy.float32]]
"""From (n, 3, H, W) target inputs and (n, ...) source inputs to the file's (n, 3, H, W) outputs."""


class BaseSwapper:
    """G0: runs the frozen base on arrays of crops."""

    def __init__(self, forward: Forward, options: SwapperOptions) -> None:
        self._forward = forward
        self.options = options

    def swap(self, crops: NDArray[numpy.uint8], sources: NDArray[Any]) -> NDArray[Any]:
        """Swap each crop.

        Args:
            crops: (n, H, W, 3), BGR; at least one.
            sources: (n, ...), in the form of `PersonSource.source`.

        Returns:
            (n, 3, H, W), RGB, 0 to 1, not clipped.
        """
        outputs = []
        for start in range(0, len(crops), FORWARD_BATCH):
            part = slice(start, start + FORWARD_BATCH)
            targets = normalise_crops(crops[part], self.options)
            output = self._forward(targets, prepare_source_inputs(sources[part]))
            outputs.append(scale_output(output, self.options))
        return numpy.concatenate(outputs)


def paste_others(
    crops: list[AlignedCrop],
    sources: NDArray[Any],
    base: BaseSwapper,
    analyser: FaceGeometry,
) -> list[VisionFrame]:
    """Each crop's cut-out with someone else swapped on and pasted back.

    Args:
        crops: n crops of P.
        sources: (n, ...), sources of others.
        base: The frozen base.
        analyser: Masks and pastes back.
    """
    cutouts = []
    for start in range(0, len(crops), FORWARD_BATCH):
        part = crops[start : start + FORWARD_BATCH]
        pictures = numpy.stack([crop.crop for crop in part])
        swapped = rgb_to_crops(base.swap(pictures, sources[start : start + FORWARD_BATCH]))
        cutouts += [crop.paste(swap, analyser) for crop, swap in zip(part, swapped, strict=True)]
    return cutouts


def create_cycle_inputs(
    crops: list[AlignedCrop],
    sources: NDArray[Any],
    base: BaseSwapper,
    analyser: FaceGeometry,
) -> NDArray[numpy.uint8]:
    """(n, H, W, 3), BGR: the results of `paste_others`, cropped again as for a second swap."""
    cutouts = paste_others(crops, sources, base, analyser)
    return numpy.stack(
        [
            crop.crop_again(cutout, analyser, base.options)
            for crop, cutout in zip(crops, cutouts, strict=True)
        ]
    )
