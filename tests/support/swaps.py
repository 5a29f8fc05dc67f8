"""Models that need no network."""

import numpy

from facefusion_finetune.evaluation.material import Material, Swaps


def copy_targets(material: Material) -> Swaps:
    """A model that changes nothing at all."""
    targets = numpy.stack([target.crop for target in material.targets]).astype(numpy.float32)
    return Swaps(
        held_out=material.held_out.truths.astype(numpy.float32),
        trained=material.trained.truths.astype(numpy.float32),
        targets=targets,
        others=targets[material.rows[:, 0]],
    )
