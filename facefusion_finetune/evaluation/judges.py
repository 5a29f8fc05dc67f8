"""Judges: second recognisers, trained apart from the one whose vectors drive the swapper.

A model that was tuned under a recogniser's eyes can learn what pleases that recogniser alone, so
another one has to say whether the person is there. Its file is the user's and therefore untrusted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto

from facefusion_finetune.errors import EvaluationError, SwapperError
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.faces.vectors import leave_one_out, measure_similarity
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.files.modelfile import ModelFile, open_model
from facefusion_finetune.swappers.graphs.shapes import trace_graph
from facefusion_finetune.swappers.sessions import create_session, embed_crops

TEMPLATE = "arcface_112_v2"
"""What recognisers of the ArcFace kind are aligned to."""
USUAL_SIZE = 112
"""Width and height of a crop where the file leaves them open."""
MIDDLE = 127.5
"""Mean and standard deviation of the input; the convention of ArcFace's exports."""
SHORTEST_VECTOR = 64
"""Fewer numbers are classes or coordinates rather than an identity."""

SAME_ANSWER = 0.9
"""Cosine from which two networks' vectors are one network's. The axes of networks trained apart
have nothing to do with each other: near 0, or 0.64 where all numbers are positive."""
SPREAD = 1e-5
"""Of the largest number: vectors that differ by less are the same."""
NEEDED_SHARE = 0.9
"""Of the comparisons of a real frame with somebody else's, those that must come out right."""

TRIAL_CELLS = (1, 2, 2, 5, 5, 12)
"""Colours across each trial picture: a flat one, gradients, coarse noise."""
TRIAL_SEED = 31337

ADVICE = (
    "Give the ONNX file of a face recogniser that was trained independently: one input,"
    " N x 3 x H x W, and one vector per picture."
)


@dataclass(frozen=True)
class Judge:
    """A recogniser that can be asked."""

    options: RecogniserOptions
    session: onnxruntime.InferenceSession
    sha256: str
    """Of its file, without external data."""

    def embed(self, crops: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        """Vectors of aligned crops, not normalised.

        Args:
            crops: (n, H, W, 3), BGR, aligned to its template; at least one.

        Returns:
            (n, d); another recogniser's d may differ.
        """
        return embed_crops(self.session, self.options, crops)


def open_recogniser(options: RecogniserOptions) -> Judge:
    """Open a recogniser of the analyser's own.

    Raises:
        SwapperError: onnxruntime refuses its file.
        OSError: The file cannot be read.
    """
    session = create_session(options.path, options.name)
    return Judge(options, session, digest_file(options.path))


def open_judge(path: Path | None, analyser: FaceAnalyser) -> Judge | None:
    """Open the file of a judge, or the judge the analyser has.

    Args:
        path: ONNX file of a recogniser; without one the analyser's own judge is taken.
        analyser: Whose recogniser the swapper is driven by.

    Returns:
        None where there is no judge at all.

    Raises:
        EvaluationError: The file cannot be read, is refused, is no recogniser, or is the training
            recogniser again.
    """
    options = analyser.get_judge() if path is None else _read_options(path, analyser)
    if options is None:
        return None
    try:
        judge = open_recogniser(options)
    except (SwapperError, OSError) as error:
        why = error.why if isinstance(error, SwapperError) else f"it cannot be read ({error})."
        raise EvaluationError(_name(options.path), why, ADVICE) from error
    answers = _try(judge)
    _check_independence(judge, answers, open_recogniser(analyser.get_recogniser()))
    return judge


def reopen_judge(run: Run, path: Path | None, analyser: FaceAnalyser) -> Judge | None:
    """The judge of a run, or another one in its place.

    Raises:
        EvaluationError: The run's judge is not here any more, or its file has changed.
    """
    known = run.config.judge
    if path is None and known is not None:
        path = Path(known.path)
        if not path.is_file() or digest_file(path) != known.sha256:
            raise EvaluationError(
                f"run {run.reference}",
                f"it was judged by {path.name} (sha256 {known.sha256}), which is not at {path} any"
                " more.",
                "Give the same file, or another judge, with --judge FILE.onnx.",
            )
    return open_judge(path, analyser)


def check_can_tell(
    real: NDArray[numpy.float32],
    others: NDArray[numpy.float32],
    clips: Sequence[str] | None = None,
) -> str | None:
    """Whether a judge tells the person from others on the footage at hand.

    Each real frame is compared with the centroid of the other real ones, each frame of somebody
    else with the centroid of all; the share of pairs in which the real one is nearer (the area
    under the ROC curve) has to reach `NEEDED_SHARE`.

    Args:
        real: (n, d), the judge's vectors of the person's real frames.
        others: (m, d), of frames that show somebody else.
        clips: (n,), where each real frame was taken; see `leave_one_out`.

    Returns:
        None if it does, else a sentence for the report.
    """
    useless = "so that nothing it says here is proof"
    if len(real) < 2 or not len(others):
        return (
            f"Whether the judge can tell the person from others is unknown: {len(real)} real frames"
            f" and {len(others)} of somebody else are too few, {useless}."
        )
    own = leave_one_out(real, clips)
    centroid = _normalise(_normalise(real).sum(axis=0, keepdims=True))[0]
    foreign = measure_similarity(others, centroid)
    gaps = own[:, None] - foreign
    share = float(((gaps > 0) + 0.5 * (gaps == 0)).mean())
    if share >= NEEDED_SHARE:
        return None
    return (
        "The judge cannot tell the person from others: a real frame is more like the person than"
        f" somebody else's is in only {share:.0%} of all comparisons, where guessing gives 50% and"
        f" {NEEDED_SHARE:.0%} are needed, {useless}."
    )


def _read_options(path: Path, analyser: FaceAnalyser) -> RecogniserOptions:
    """What a recogniser's file says of itself; nothing of it has run yet."""
    try:
        file = open_model(path)
        size = _read_size(file)
        trace = trace_graph(file)
    except SwapperError as error:
        raise EvaluationError(_name(path), error.why, ADVICE) from error
    made = trace.values[trace.output]
    if made.count != max(made.shape, default=1) or made.data_type != TensorProto.FLOAT:
        why = f"it is no recogniser: its first output {list(made.shape)} is no vector in 32 bits."
        raise EvaluationError(_name(path), why, ADVICE)
    if made.count < SHORTEST_VECTOR:
        why = (
            f"it is no recogniser: its vector has {made.count} numbers, fewer than"
            f" {SHORTEST_VECTOR}, as a classifier's has."
        )
        raise EvaluationError(_name(path), why, ADVICE)
    has_template = TEMPLATE in analyser.warp_templates()
    return RecogniserOptions(
        name=path.stem,
        path=path,
        template=TEMPLATE if has_template else analyser.get_recogniser().template,
        size=size,
        mean=MIDDLE,
        standard_deviation=MIDDLE,
    )


def _read_size(file: ModelFile) -> tuple[int, int]:
    """Width and height of its one picture input; what the file leaves open is filled in."""
    graph = file.skeleton.graph
    inputs = [value for value in graph.input if value.name not in file.tensors]
    shapes = [_list_dims(value) for value in inputs]
    kinds = [value.type.tensor_type.elem_type for value in inputs]
    if kinds != [TensorProto.FLOAT] or len(shapes[0]) != 4 or shapes[0][:2] not in ([0, 3], [1, 3]):
        found = ", ".join(
            f"{value.name} {[dim or '?' for dim in shape]}"
            for value, shape in zip(inputs, shapes, strict=True)
        )
        raise EvaluationError(
            _name(file.path),
            "it is no recogniser: that takes one picture at a time, [1, 3, H, W] in 32 bits, and"
            f" nothing else; this takes {found or 'nothing'}.",
            ADVICE,
        )
    height, width = (dim or USUAL_SIZE for dim in shapes[0][2:])
    for dim, length in zip(
        inputs[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dim.dim_value = length
    return width, height


def _list_dims(value: ValueInfoProto) -> list[int]:
    """Sizes of an input, 0 where one is left open."""
    return [max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim]


def _try(judge: Judge) -> NDArray[numpy.float64]:
    """Its (n, d) vectors of the trial pictures.

    Raises:
        EvaluationError: It makes none, or none that tell pictures apart.
    """
    name = _name(judge.options.path)
    try:
        answers = judge.embed(_paint_trials(judge.options.size)).astype(numpy.float64)
    except Exception as error:  # onnxruntime's own exceptions share no narrower base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(name, f"it cannot be run ({reason}).", ADVICE) from error
    if not numpy.isfinite(answers).all():
        raise EvaluationError(
            name, "it is no recogniser: its vectors of trial pictures are not finite.", ADVICE
        )
    if numpy.ptp(answers, axis=0).max() <= SPREAD * numpy.abs(answers).max():
        raise EvaluationError(
            name, "it is no recogniser: different pictures have the same vector.", ADVICE
        )
    return answers


def _check_independence(judge: Judge, answers: NDArray[numpy.float64], trained: Judge) -> None:
    """Refuse the training recogniser and its copies.

    Raises:
        EvaluationError: The judge is one.
    """
    if judge.sha256 == trained.sha256:
        why = f"it is the training recogniser {trained.options.name} itself"
    else:
        expected = _try(trained)
        if expected.shape != answers.shape:
            return
        cosine = float((_normalise(answers) * _normalise(expected)).sum(axis=1).mean())
        if abs(cosine) < SAME_ANSWER:
            return
        why = (
            f"it answers as the training recogniser {trained.options.name} does (cosine"
            f" {cosine:.4f} on trial pictures), so that it is a copy of it"
        )
    raise EvaluationError(
        _name(judge.options.path), f"{why}, and a model may not grade itself.", ADVICE
    )


def _paint_trials(size: tuple[int, int]) -> NDArray[numpy.uint8]:
    """(n, H, W, 3): the same pictures at every size, on every machine."""
    generator = numpy.random.default_rng(TRIAL_SEED)
    pictures = [
        cv2.resize(generator.uniform(0, 255, (cells, cells, 3)), size) for cells in TRIAL_CELLS
    ]
    return numpy.stack(pictures).round().astype(numpy.uint8)


def _normalise(vectors: NDArray[numpy.floating]) -> NDArray[numpy.float64]:
    """Rows of length 1, but for those of length 0."""
    lengths = numpy.linalg.norm(vectors.astype(numpy.float64), axis=1, keepdims=True)
    unit: NDArray[numpy.float64] = vectors / numpy.maximum(lengths, 1e-12)
    return unit


def _name(path: Path) -> str:
    return f"judge {path}"
