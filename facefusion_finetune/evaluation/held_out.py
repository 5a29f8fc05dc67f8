"""The judge of one run: the same held-out pairs for previews, for the report and for later."""

from pathlib import Path
from typing import Any, TypeVar

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.evaluation.pictures import draw_grid, save_picture
from facefusion_finetune.evaluation.protocol import HELD_OUT_SEED, HeldOutPairs, KnownSwap
from facefusion_finetune.evaluation.report import write_report
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.parity import run_session
from facefusion_finetune.swappers.sessions import denormalise_output, normalise_crops
from facefusion_finetune.swappers.source import PersonSource, SourceMaker
from facefusion_finetune.swappers.vectors import prepare_source_inputs
from facefusion_finetune.training.pairs import BaseSwapper, Forward, create_cycle_inputs
from facefusion_finetune.training.run import Run
from facefusion_finetune.training.sources import draw_others

Item = TypeVar("Item")

MOST_PAIRS = 60
PREVIEW_PAIRS = 4


class HeldOutJudge:
    """Scores and shows what base and tuned model make of the person's held-out crops."""

    def __init__(
        self,
        held_out: list[AlignedCrop],
        analyser: FaceAnalyser,
        options: SwapperOptions,
        maker: SourceMaker,
        person: PersonSource,
        base_session: onnxruntime.InferenceSession,
    ) -> None:
        """Make the held-out pairs.

        Args:
            held_out: Crops of shots that no step trains on; at most `MOST_PAIRS` are used.
            analyser: Aligns, masks, pastes and knows the recognisers.
            options: Of the base.
            maker: Of the base.
            person: As the tuned model carries it.
            base_session: The base file. onnxruntime makes the pairs, whatever trains, so that
                they can be made again elsewhere.
        """
        chosen = _spread(held_out, MOST_PAIRS)
        self._analyser = analyser
        self._options = options
        self._base_session = base_session
        self._source = prepare_source_inputs(person.source[None])
        others = draw_others(maker, analyser, len(chosen), HELD_OUT_SEED, person.vector)
        if others is None:
            # There is nobody to swap on first; the report says what this leaves open.
            inputs = numpy.stack([crop.crop for crop in chosen])
        else:
            inputs = create_cycle_inputs(
                chosen, others, BaseSwapper(self._run_base, options), analyser
            )
        self._pairs = HeldOutPairs(chosen, inputs, are_swapped=others is not None)

    def draw_preview(self, run: Run, step: int, forward: Forward) -> Path:
        """Write `previews/step_NNNNNN.png`: fixed held-out pairs as they look at this step."""
        rows = _spread(list(range(len(self._pairs.crops))), PREVIEW_PAIRS)
        inputs = self._pairs.inputs[rows]
        grid = draw_grid(
            {
                self._pairs.input_title: inputs,
                "before": self._swap(inputs, self._run_base),
                f"step {step}": self._swap(inputs, forward),
                "truth": self._pairs.truths[rows],
            }
        )
        path = run.directory / "previews" / f"step_{step:06d}.png"
        save_picture(path, grid)
        return path

    def write_report(
        self,
        run: Run,
        session: onnxruntime.InferenceSession,
        known: list[KnownSwap] | None = None,
    ) -> dict[str, Any]:
        """Judge the file that `session` runs; see `report.write_report`."""
        return write_report(
            run,
            self._pairs,
            lambda crops: self._swap(crops, self._run_base),
            lambda crops: self._swap(
                crops, lambda targets, sources: run_session(session, targets, sources)
            ),
            self._analyser,
            known,
        )

    def _run_base(
        self, targets: NDArray[numpy.float32], sources: NDArray[numpy.float32]
    ) -> NDArray[numpy.float32]:
        return run_session(self._base_session, targets, sources)

    def _swap(self, crops: NDArray[numpy.uint8], forward: Forward) -> NDArray[Any]:
        targets = normalise_crops(crops, self._options)
        sources = numpy.repeat(self._source, len(targets), axis=0)
        return denormalise_output(forward(targets, sources), self._options)


def _spread(items: list[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spread over the list."""
    if len(items) <= count:
        return items
    positions = numpy.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[position] for position in positions]
