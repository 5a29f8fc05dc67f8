"""The frozen base at work on whole arrays of crops, and what pairs are made of.

G0 is the frozen base, P the person. A cycle input is G0's swap of somebody else onto a frame of P,
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
"""(n, 3, H, W) target inputs and (n, ...) source inputs to (n, 3, H, W) outputs of the file."""


class BaseSwapper:
    """G0: runs the frozen base on whole arrays of crops."""

    def __init__(self, forward: Forward, options: SwapperOptions) -> None:
        self._forward = forward
        self.options = options

    def swap(self, crops: NDArray[numpy.uint8], sources: NDArray[Any]) -> NDArray[Any]:
        """Swap each crop.

        Args:
            crops: (n, H, W, 3), BGR; at least one.
            sources: (n, ...), kept as `PersonSource.source` is.

        Returns:
            (n, 3, H, W), RGB, 0 to 1 but not clipped.
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
    """Each crop's cut-out with somebody else swapped on and pasted back.

    Args:
        crops: n crops of P.
        sources: (n, ...), of others.
        base: The frozen base.
        analyser: Whose mask and paste are used.
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
    """(n, H, W, 3), BGR: what `paste_others` makes, cropped as a second swap would see it."""
    cutouts = paste_others(crops, sources, base, analyser)
    return numpy.stack(
        [
            crop.crop_again(cutout, analyser, base.options)
            for crop, cutout in zip(crops, cutouts, strict=True)
        ]
    )
