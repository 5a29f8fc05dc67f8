"""Evaluates one run on its held-out material, for previews and for the report."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop, load_folder
from facefusion_finetune.dataset.footage.sources import NoteCallback
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.evaluation.build import write_report
from facefusion_finetune.evaluation.judges import LoadedRecogniser, open_recogniser
from facefusion_finetune.evaluation.material import (
    HELD_OUT_SEED,
    MAX_PAIRS,
    MAX_TRAINED,
    OTHER_PEOPLE,
    OTHERS_SEED,
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
    """Inputs of an evaluation besides the run's own held-out crops."""

    judge: LoadedRecogniser | None = None
    """A recogniser trained independently of the training recogniser."""
    targets: list[Path] | World | None = None
    """Footage of other people; if None, the run's targets, otherwise the person's own frames with
    someone else swapped on."""


class HeldOutEvaluator:
    """Scores and shows the swaps of base and tuned model on held-out frames."""

    def __init__(
        self,
        context: RunContext,
        maker: SourceMaker,
        person: PersonSource,
        base_session: onnxruntime.InferenceSession,
        inputs: EvaluationInputs,
    ) -> None:
        """Create the held-out material.

        Args:
            context: The run's context; targets are kept in the run's folder. At most `MAX_PAIRS` of
                its held-out crops are used.
            maker: The base's source maker.
            person: The person as stored in the tuned model.
            base_session: Session of the base file. onnxruntime creates the pairs, so that they are
                reproducible on other machines, whatever device trains.
            inputs: Judge and footage of others.

        Raises:
            EvaluationError: No held-out crop is independent of the training crops, or the targets
                show no one but the person.
            FootageError: The targets cannot be read, or the content check refuses them.
        """
        run, analyser, options = context.run, context.analyser, context.options
        crops = context.crops
        train = crops.train
        independent = choose_independent(run, crops.records, train, crops.held_out)
        self._run = run
        self._analyser = analyser
        self._options = options
        self._judge = inputs.judge
        self._source = person.source
        self._base = BaseSwapper(partial(run_session, base_session), options)
        base = self._base
        pairs = make_pairs(
            spread(independent, MAX_PAIRS), maker, base, analyser, person.vector, HELD_OUT_SEED
        )
        trained = make_pairs(
            spread(train, MAX_TRAINED), maker, base, analyser, person.vector, HELD_OUT_SEED + 1
        )
        person_filter = PersonFilter.of(stack_embeddings([crop.record for crop in train]))
        targets, truths = self._provide_targets(
            inputs.targets, person_filter, context.observer.on_note
        )
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
        """Write `previews/step_NNNNNN.png`, which shows fixed held-out pairs at this step.

        Their distance to the truth is written to `held_out.jsonl`.
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
        """Evaluate the tuned model that `session` runs; see `build.write_report`."""
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
        self, footage: list[Path] | World | None, person_filter: PersonFilter, on_note: NoteCallback
    ) -> tuple[list[AlignedCrop], Truths | None]:
        run, analyser, options = self._run, self._analyser, self._options
        records = read_targets(run)
        if footage and not (records and isinstance(footage, World)):
            paths = footage.footage if isinstance(footage, World) else footage
            records = collect_targets(run, paths, analyser, person_filter, on_note)
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
        drawn = (OTHER_PEOPLE, OTHERS_SEED)
        others = draw_others(maker, self._analyser, *drawn, person.vector, for_judging=True)
        if others is None or maker.family.picture is not None:
            return others, None
        return others, self._analyser.sample_other_vectors(*drawn, for_judging=True)

    def _swap(self, crops: NDArray[numpy.uint8], model: BaseSwapper) -> NDArray[Any]:
        return rgb_to_crops(model.swap(crops, numpy.repeat(self._source[None], len(crops), axis=0)))
