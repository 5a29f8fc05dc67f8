"""Checks whether a swap of someone else has removed the person from a picture.

If it has not, the tuned swapper would learn to copy the remaining traces of the person, which are
not there at inference. The training recogniser is used, never the judge: selecting by the judge
would bias the evaluation.
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
"""Draws the impostors, whose similarity is the level of strangers; the same in every run."""
IMPOSTOR_PERCENTILE = 99.0
NOTED_SHARE = 0.5
"""The user is notified if more than this share of the inputs is left out."""


class LeakageCheck:
    """Checks inputs made of a person's crops for the person's identity."""

    def __init__(
        self,
        analyser: Recognisers,
        centroid: NDArray[numpy.float64],
        matrices: NDArray[numpy.float32],
    ) -> None:
        """Open the training recogniser.

        Args:
            analyser: Has the recogniser, and embeddings of strangers.
            centroid: (512,), direction of the person's vector, of any norm.
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
        """Maximum cosine to the person at which a face counts as a stranger's."""
        self.lowest = 1.0
        """Lowest cosine to the person so far."""

    def find_leaks(
        self, rows: NDArray[numpy.int64], pictures: NDArray[numpy.uint8]
    ) -> NDArray[numpy.bool_]:
        """(n,): which pictures still show the person.

        Args:
            rows: (n,), the crop of each picture.
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
        """Report if the base does not remove the person.

        Args:
            inputs: All cycle inputs.
            base_name: Name of the base.
            has_other_pairs: Whether there are other pairs of the person to train on.
            on_note: Called if more than half of the inputs are left out.

        Raises:
            TrainingError: All inputs are left out, and there are no other pairs.
        """
        total = len(inputs.crop)
        if inputs.left_out == total and not has_other_pairs:
            raise TrainingError(
                f"base {base_name!r}",
                f"its swaps of other people do not remove the person from any of the {total}"
                f" training inputs: all have a cosine of {self.lowest:.2f} or more to the person in"
                f" the training recogniser, while strangers have at most {self.limit:.2f}. Such"
                " swaps are useless for training.",
                "Use another base, or a preset with self pairs only, such as 'reconstruction'.",
            )
        if inputs.left_out > NOTED_SHARE * total:
            on_note(
                f"The base {base_name!r} does not remove the person well: {inputs.left_out} of"
                f" {total} swaps of others onto the person's frames still show the person (cosine"
                f" above {self.limit:.2f} in the training recogniser) and are not used."
            )
