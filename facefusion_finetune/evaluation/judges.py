"""Judges: recognisers trained independently of the one whose embeddings drive the swapper.

A tuned model can overfit to its training recogniser, so another one must score the likeness. Its
file comes from the user and is therefore untrusted.
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
"""Face alignment template of ArcFace recognisers."""
DEFAULT_SIZE = 112
"""Width and height of a crop if the file has dynamic sizes."""
HALF_RANGE = 127.5
"""Mean and standard deviation of the input, as usual for ArcFace models."""
MIN_DIMENSIONS = 64
"""Minimum size of an embedding; smaller outputs are classes or coordinates."""

SAME_NETWORK_COSINE = 0.9
"""Cosine at which embeddings are taken to come from the same network. Independently trained
networks have unrelated axes, with cosines near 0, or 0.64 if all values are positive."""
SPREAD = 1e-5
"""Relative difference below which embeddings count as equal."""
MIN_AUC = 0.9
"""Minimum area under the ROC curve for distinguishing the person from others."""

TEST_CELLS = (1, 2, 2, 5, 5, 12)
"""Cells across each test picture: a uniform one, gradients, coarse noise."""
TEST_SEED = 31337

ADVICE = (
    "Use the ONNX file of an independently trained face recogniser with one input, N x 3 x H x W,"
    " and one embedding per picture."
)


@dataclass(frozen=True)
class LoadedRecogniser:
    """A recogniser ready to run: a judge, or the training recogniser."""

    options: RecogniserOptions
    session: onnxruntime.InferenceSession
    sha256: str
    """sha256 of its file, without external data."""

    def embed(self, crops: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        """Embeddings of aligned crops, not normalised.

        Args:
            crops: (n, H, W, 3), BGR, aligned to the recogniser's template; at least one.

        Returns:
            (n, d), where d depends on the recogniser.
        """
        return embed_crops(self.session, self.options, crops)


def open_recogniser(options: RecogniserOptions) -> LoadedRecogniser:
    """Load one of the analyser's own recognisers.

    Raises:
        SwapperError: onnxruntime refuses its file.
        OSError: The file cannot be read.
    """
    session = create_session(options.path, options.name)
    return LoadedRecogniser(options, session, digest_file(options.path))


def open_judge(path: Path | None, analyser: FaceAnalyser) -> LoadedRecogniser | None:
    """Load a judge from a file, or the analyser's own judge.

    Args:
        path: ONNX file of a recogniser; if None, the analyser's own judge is used.
        analyser: Has the training recogniser.

    Returns:
        The judge; None if there is none.

    Raises:
        EvaluationError: The file cannot be read or run, is not a recogniser, or is the training
            recogniser.
    """
    options = analyser.get_judge() if path is None else _read_options(path, analyser)
    if options is None:
        return None
    try:
        judge = open_recogniser(options)
    except (SwapperError, OSError) as error:
        why = error.why if isinstance(error, SwapperError) else f"it cannot be read ({error})."
        raise EvaluationError(_name(options.path), why, ADVICE) from error
    embeddings = _embed_test_pictures(judge)
    _check_independence(judge, embeddings, open_recogniser(analyser.get_recogniser()))
    return judge


def reopen_judge(run: Run, path: Path | None, analyser: FaceAnalyser) -> LoadedRecogniser | None:
    """Load a run's judge, or another one in its place.

    Raises:
        EvaluationError: The run's judge file is missing or has changed.
    """
    known = run.config.judge
    if path is None and known is not None:
        path = Path(known.path)
        if not path.is_file() or digest_file(path) != known.sha256:
            raise EvaluationError(
                f"run {run.reference}",
                f"its judge, {path.name} (sha256 {known.sha256}), is no longer at {path}.",
                "Give the same file, or another judge, with --judge FILE.onnx.",
            )
    return open_judge(path, analyser)


def check_discrimination(
    real: NDArray[numpy.float32],
    others: NDArray[numpy.float32],
    clips: Sequence[str] | None = None,
) -> str | None:
    """Check that a judge distinguishes the person from others on the given frames.

    Each real frame is compared with the centroid of the other real ones, each frame of someone else
    with the centroid of all. The share of pairs in which the real frame is closer (the area under
    the ROC curve) must reach `MIN_AUC`.

    Args:
        real: (n, d), the judge's embeddings of the person's real frames.
        others: (m, d), embeddings of frames that show someone else.
        clips: (n,), the clip of each real frame; see `leave_one_out`.

    Returns:
        None if it does, otherwise a sentence for the report.
    """
    useless = "so its scores here prove nothing"
    if len(real) < 2 or not len(others):
        return (
            f"It is unknown whether the judge distinguishes the person from others: {len(real)}"
            f" real frames and {len(others)} of someone else are too few, {useless}."
        )
    own = leave_one_out(real, clips)
    centroid = _normalise(_normalise(real).sum(axis=0, keepdims=True))[0]
    foreign = measure_similarity(others, centroid)
    gaps = own[:, None] - foreign
    share = float(((gaps > 0) + 0.5 * (gaps == 0)).mean())
    if share >= MIN_AUC:
        return None
    return (
        "The judge does not distinguish the person from others: a real frame is more similar to the"
        f" person than someone else's in only {share:.0%} of all comparisons (chance: 50%,"
        f" required: {MIN_AUC:.0%}), {useless}."
    )


def _read_options(path: Path, analyser: FaceAnalyser) -> RecogniserOptions:
    """Options of a recogniser, read from its file without running it."""
    try:
        file = open_model(path)
        size = _read_size(file)
        trace = trace_graph(file)
    except SwapperError as error:
        raise EvaluationError(_name(path), error.why, ADVICE) from error
    output = trace.values[trace.output]
    if output.count != max(output.shape, default=1) or output.data_type != TensorProto.FLOAT:
        why = f"it is not a recogniser: its first output {list(output.shape)} is no float32 vector."
        raise EvaluationError(_name(path), why, ADVICE)
    if output.count < MIN_DIMENSIONS:
        why = (
            f"it is not a recogniser: its output has {output.count} values, fewer than"
            f" {MIN_DIMENSIONS}, like a classifier's."
        )
        raise EvaluationError(_name(path), why, ADVICE)
    has_template = TEMPLATE in analyser.warp_templates()
    return RecogniserOptions(
        name=path.stem,
        path=path,
        template=TEMPLATE if has_template else analyser.get_recogniser().template,
        size=size,
        mean=HALF_RANGE,
        standard_deviation=HALF_RANGE,
    )


def _read_size(file: ModelFile) -> tuple[int, int]:
    """Width and height of the picture input; dynamic sizes in the file are replaced."""
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
            "it is not a recogniser: a recogniser's only input is a float32 picture, [1, 3, H, W];"
            f" this one takes {found or 'nothing'}.",
            ADVICE,
        )
    height, width = (dim or DEFAULT_SIZE for dim in shapes[0][2:])
    for dim, length in zip(
        inputs[0].type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dim.dim_value = length
    return width, height


def _list_dims(value: ValueInfoProto) -> list[int]:
    """Sizes of an input, 0 for dynamic ones."""
    return [max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim]


def _embed_test_pictures(judge: LoadedRecogniser) -> NDArray[numpy.float64]:
    """The (n, d) embeddings of the test pictures.

    Raises:
        EvaluationError: The judge fails, or its embeddings do not distinguish pictures.
    """
    name = _name(judge.options.path)
    try:
        embeddings = judge.embed(_create_test_pictures(judge.options.size)).astype(numpy.float64)
    except Exception as error:  # onnxruntime's own exceptions share no narrower base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(name, f"it cannot be run ({reason}).", ADVICE) from error
    if not numpy.isfinite(embeddings).all():
        raise EvaluationError(
            name, "it is not a recogniser: it returns NaN or infinity for test pictures.", ADVICE
        )
    if numpy.ptp(embeddings, axis=0).max() <= SPREAD * numpy.abs(embeddings).max():
        raise EvaluationError(
            name, "it is not a recogniser: different pictures have the same embedding.", ADVICE
        )
    return embeddings


def _check_independence(
    judge: LoadedRecogniser, embeddings: NDArray[numpy.float64], trained: LoadedRecogniser
) -> None:
    """Reject the training recogniser and copies of it.

    Raises:
        EvaluationError: The judge is one of them.
    """
    if judge.sha256 == trained.sha256:
        why = f"it is the training recogniser {trained.options.name} itself"
    else:
        expected = _embed_test_pictures(trained)
        if expected.shape != embeddings.shape:
            return
        cosine = float((_normalise(embeddings) * _normalise(expected)).sum(axis=1).mean())
        if abs(cosine) < SAME_NETWORK_COSINE:
            return
        why = (
            f"its embeddings match those of the training recogniser {trained.options.name} (cosine"
            f" {cosine:.4f} on test pictures), so it is a copy of it"
        )
    raise EvaluationError(
        _name(judge.options.path), f"{why}, and a model must not judge itself.", ADVICE
    )


def _create_test_pictures(size: tuple[int, int]) -> NDArray[numpy.uint8]:
    """(n, H, W, 3): the same pictures at every size and on every machine."""
    generator = numpy.random.default_rng(TEST_SEED)
    pictures = [
        cv2.resize(generator.uniform(0, 255, (cells, cells, 3)), size) for cells in TEST_CELLS
    ]
    return numpy.stack(pictures).round().astype(numpy.uint8)


def _normalise(vectors: NDArray[numpy.floating]) -> NDArray[numpy.float64]:
    """Rows scaled to unit norm, except zero rows."""
    lengths = numpy.linalg.norm(vectors.astype(numpy.float64), axis=1, keepdims=True)
    unit: NDArray[numpy.float64] = vectors / numpy.maximum(lengths, 1e-12)
    return unit


def _name(path: Path) -> str:
    return f"judge {path}"
