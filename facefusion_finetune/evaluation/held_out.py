"""The judge of one run: the same held-out material for previews, for the report and for later."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop, load_folder
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.evaluation.build import write_report
from facefusion_finetune.evaluation.judges import Judge, open_recogniser
from facefusion_finetune.evaluation.material import (
    GENERALITY_SEED,
    HELD_OUT_SEED,
    MOST_PAIRS,
    MOST_TRAINED,
    OTHER_PEOPLE,
    Material,
    choose_independent,
    make_pairs,
    make_stand_ins,
    make_swaps,
    pair_others,
)
from facefusion_finetune.evaluation.metrics import measure_face_l1
from facefusion_finetune.evaluation.pictures import draw_grid, save_picture
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.evaluation.targets import (
    collect_targets,
    read_targets,
    targets_directory,
)
from facefusion_finetune.evaluation.truths import Truths, World, draw_truths, load_truths
from facefusion_finetune.evaluation.watching import write_score
from facefusion_finetune.runs.base_swapper import BaseSwapper, Forward
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.crops import spread
from facefusion_finetune.runs.others import PersonFilter
from facefusion_finetune.runs.sources import draw_others
from facefusion_finetune.swappers.sessions import rgb_to_crops, run_session
from facefusion_finetune.swappers.source import PersonSource, SourceMaker

PREVIEW_PAIRS = 4


@dataclass(frozen=True)
class EvaluationInputs:
    """What a run is to be judged by, besides its own held-out crops."""

    judge: Judge | None = None
    """A recogniser trained independently of the training recogniser."""
    targets: list[Path] | World | None = None
    """Footage of other people; without it, what the run has, else the person's own frames with
    somebody else swapped on."""


class HeldOutEvaluator:
    """Scores and shows what base and tuned model make of frames no step has seen."""

    def __init__(
        self,
        context: RunContext,
        maker: SourceMaker,
        person: PersonSource,
        base_session: onnxruntime.InferenceSession,
        judgement: EvaluationInputs,
    ) -> None:
        """Make the held-out material.

        Args:
            context: Of the run that is judged; targets are kept in its folder. At most
                `MOST_PAIRS` of its held-out crops are used.
            maker: Of the base.
            person: As the tuned model carries it.
            base_session: The base file. onnxruntime makes the pairs, whatever trains, so that
                they can be made again elsewhere.
            judgement: Judge and footage of others.

        Raises:
            EvaluationError: No held-out crop is independent of the training crops, or the targets
                show nobody else.
            FootageError: The targets cannot be read, or are refused.
        """
        run, analyser, options = context.run, context.analyser, context.options
        crops = context.crops
        train = crops.train
        independent = choose_independent(run, crops.records, train, crops.held_out)
        self._run = run
        self._analyser = analyser
        self._options = options
        self._judge = judgement.judge
        self._source = person.source
        self._base = BaseSwapper(partial(run_session, base_session), options)
        base = self._base
        pairs = make_pairs(
            spread(independent, MOST_PAIRS), maker, base, analyser, person.vector, HELD_OUT_SEED
        )
        trained = make_pairs(
            spread(train, MOST_TRAINED), maker, base, analyser, person.vector, HELD_OUT_SEED + 1
        )
        likeness = PersonFilter.of(stack_embeddings([crop.record for crop in train]))
        targets, truths = self._provide_targets(judgement.targets, likeness)
        others, vectors = self._gather_others(maker, person, truths)
        shown = targets or make_stand_ins(pairs)
        self.material = Material(
            held_out=pairs,
            trained=trained,
            left_out=len(crops.held_out) - len(independent),
            targets=shown,
            are_people=bool(targets),
            others=others,
            other_vectors=vectors,
            rows=truths.rows if truths else pair_others(len(shown)),
            truths=truths,
        )

    def draw_preview(self, step: int, forward: Forward) -> Path:
        """Write `previews/step_NNNNNN.png`: fixed held-out pairs as they look at this step.

        How far they are from the truth is added to `held_out.jsonl`.
        """
        pairs = self.material.held_out
        rows = spread(list(range(len(pairs.crops))), PREVIEW_PAIRS)
        inputs, truths, faces = pairs.inputs[rows], pairs.truths[rows], pairs.faces[rows]
        before = self._swap(inputs, self._base)
        after = self._swap(inputs, BaseSwapper(forward, self._options))
        write_score(
            self._run,
            step,
            measure_face_l1(before, truths, faces),
            measure_face_l1(after, truths, faces),
        )
        grid = draw_grid(
            {
                "somebody else" if pairs.are_swapped else "input": inputs,
                "before": before,
                f"step {step}": after,
                "truth": truths,
            }
        )
        path = self._run.previews_directory / f"step_{step:06d}.png"
        # Somebody may have deleted the pictures. Without parents: a person who is being removed
        # must not come back.
        path.parent.mkdir(mode=0o700, exist_ok=True)
        save_picture(path, grid)
        return path

    def write_report(self, session: onnxruntime.InferenceSession) -> Report:
        """Judge the file that `session` runs; see `build.write_report`."""
        tuned = BaseSwapper(partial(run_session, session), self._options)
        return write_report(
            self._run,
            self.material,
            make_swaps(self._base, self._source, self.material),
            make_swaps(tuned, self._source, self.material),
            open_recogniser(self._analyser.get_recogniser()),
            self._judge,
            self._analyser,
            self._options,
        )

    def _provide_targets(
        self, footage: list[Path] | World | None, likeness: PersonFilter
    ) -> tuple[list[AlignedCrop], Truths | None]:
        run, analyser, options = self._run, self._analyser, self._options
        records = read_targets(run)
        if footage and not (records and isinstance(footage, World)):
            paths = footage.footage if isinstance(footage, World) else footage
            records = collect_targets(run, paths, analyser, likeness)
        crops = load_folder(targets_directory(run), records, analyser, options)
        truths = load_truths(run, len(crops))
        if truths is None and isinstance(footage, World):
            draw_truths(run, footage, crops, analyser, options, pair_others(len(crops)))
            truths = load_truths(run, len(crops))
        return crops, truths

    def _gather_others(
        self, maker: SourceMaker, person: PersonSource, truths: Truths | None
    ) -> tuple[NDArray[Any] | None, NDArray[numpy.float64] | None]:
        if truths is not None:
            sources = [maker.create_vector(vector) for vector in truths.vectors]
            return numpy.stack(sources), truths.vectors
        drawn = (OTHER_PEOPLE, GENERALITY_SEED)
        others = draw_others(maker, self._analyser, *drawn, person.vector, for_judging=True)
        if others is None or maker.family.picture is not None:
            return others, None
        return others, self._analyser.sample_other_vectors(*drawn, for_judging=True)

    def _swap(self, crops: NDArray[numpy.uint8], model: BaseSwapper) -> NDArray[Any]:
        return rgb_to_crops(model.swap(crops, numpy.repeat(self._source[None], len(crops), axis=0)))
