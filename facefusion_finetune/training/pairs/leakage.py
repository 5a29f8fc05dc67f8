"""Whether a swap of somebody else has removed the person from a picture.

Where it has not, the tuned swapper would learn to copy what is left of the person, which is not
there when it is used on others. The training recogniser looks, never the judge: what is chosen by
the judge would please it.
"""

from collections.abc import Callable

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.metrics import warp_crops
from facefusion_finetune.faces.protocol import Recognisers
from facefusion_finetune.faces.vectors import measure_similarity
from facefusion_finetune.swappers.branches.gate import STRANGER_COSINE
from facefusion_finetune.swappers.sessions import create_session, embed_crops
from facefusion_finetune.training.pairs.cycle import CycleInputs

IMPOSTORS = 1000
IMPOSTOR_SEED = 7937
"""Draws the people whose likeness is the level of strangers; the same in every run."""
IMPOSTOR_PERCENTILE = 99.0
NOTED_SHARE = 0.5
"""Of the inputs; if more are left out than this, the user is told."""


class LeakageCheck:
    """Compares pictures made of a person's crops with the person."""

    def __init__(
        self,
        analyser: Recognisers,
        centroid: NDArray[numpy.float64],
        matrices: NDArray[numpy.float32],
    ) -> None:
        """Open the training recogniser.

        Args:
            analyser: Has the recogniser, and knows strangers.
            centroid: (512,), direction of the person's vector, of any length.
            matrices: (crops, 2, 3), from crop pixels to the recogniser's crop pixels.

        Raises:
            SwapperError: onnxruntime refuses the recogniser's file.
        """
        self._options = analyser.get_recogniser()
        self._session = create_session(self._options.path, self._options.name)
        self._centroid = centroid / numpy.linalg.norm(centroid)
        self._matrices = matrices
        strangers = analyser.sample_other_vectors(IMPOSTORS, IMPOSTOR_SEED)
        scores = measure_similarity(strangers, self._centroid)
        self.limit = max(STRANGER_COSINE, float(numpy.percentile(scores, IMPOSTOR_PERCENTILE)))
        """Cosine to the person up to which a face is a stranger's."""
        self.lowest = 1.0
        """Least cosine to the person that was seen so far."""

    def find_leaks(
        self, rows: NDArray[numpy.int64], pictures: NDArray[numpy.uint8]
    ) -> NDArray[numpy.bool_]:
        """(n,): which pictures still show the person.

        Args:
            rows: (n,), the crop each picture was made of.
            pictures: (n, H, W, 3), BGR.
        """
        warped = warp_crops(pictures, self._matrices[rows].astype(float), self._options.size)
        vectors = embed_crops(self._session, self._options, warped)
        scores = measure_similarity(vectors, self._centroid)
        self.lowest = min(self.lowest, float(scores.min()))
        leaks: NDArray[numpy.bool_] = scores > self.limit
        return leaks

    def report(
        self,
        inputs: CycleInputs,
        base_name: str,
        has_other_pairs: bool,
        on_note: Callable[[str], None],
    ) -> None:
        """Say so where the base does not remove the person.

        Args:
            inputs: All that were made.
            base_name: Of the base.
            has_other_pairs: Whether the person can be learnt from other pairs.
            on_note: Told if more than half are left out.

        Raises:
            TrainingError: All are, and there is nothing else to learn from.
        """
        total = len(inputs.crop)
        if inputs.left_out == total and not has_other_pairs:
            raise TrainingError(
                f"base {base_name!r}",
                f"after its swaps of other people onto the {total} training inputs, each one still"
                f" shows the person: the training recogniser gives cosines of {self.lowest:.2f} and"
                f" more, and strangers have at most {self.limit:.2f}. There is nothing to learn"
                " from undoing such swaps.",
                "Use another base, or a preset with self pairs only, such as 'reconstruction'.",
            )
        if inputs.left_out > NOTED_SHARE * total:
            on_note(
                f"The base {base_name!r} does not remove the person well: {inputs.left_out} of"
                f" {total} swaps of others onto the person's frames still show the person (cosine"
                f" above {self.limit:.2f} in the training recogniser) and were left out."
            )
