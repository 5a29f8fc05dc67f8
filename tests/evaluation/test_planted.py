"""Planted models: the gate lets a true improvement through, and nothing that only looks like one.

A run tuned on the wrong person, one that learnt its frames by heart, one that ruins others, and one
that fools the training recogniser are built on purpose, judged as any run is, and refused.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch

from facefusion_finetune import home
from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.errors import EvaluationError, RegistryError
from facefusion_finetune.evaluation.appearance import measure_held_out
from facefusion_finetune.evaluation.material import HELD_OUT_SEED, make_pairs
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.registry import store
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.sessions import create_session, rgb_to_crops, run_session
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from tests.support.planted import (
    PERSON,
    TARGETS,
    Lesson,
    School,
    Stage,
    join,
    load_pictures,
    plant_run,
    set_stage,
    split_at_random,
    split_honestly,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("planted")
    with home.use_home(folder / "home"):
        yield set_stage(folder)


@pytest.fixture(autouse=True)
def home_folder(stage: Stage) -> Iterator[None]:
    """All of these tests share one home; none changes another's run."""
    with home.use_home(stage.person.directory.parents[1]):
        yield


@pytest.fixture(scope="module")
def school(stage: Stage) -> School:
    return School(stage, split_honestly(stage)[0])


def _judge(school: School, run: Run) -> Report:
    return evaluate_run(school.stage.person, run, school.stage.analyser, None, school.stage.world)


def _refuses(school: School, run: Run, host: Path) -> bool:
    try:
        store.activate(school.stage.person, run, host)
    except RegistryError:
        return not list(host.rglob("*.onnx"))
    return False


def _find_outcomes(report: Report) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


def test_a_true_improvement_passes(school: School, tmp_path: Path) -> None:
    weights = school.tune(
        lambda generator: join(
            school.swap_in(generator, PERSON, school.source, 8), school.keep_others(generator, 16)
        ),
        steps=120,
    )
    run = plant_run(school, weights, *split_honestly(school.stage))
    assert _refuses(school, run, tmp_path / "before")
    report = _judge(school, run)
    assert (report.verdict, report.proven, report.reasons) == ("better", True, ())
    path = store.activate(school.stage.person, run, tmp_path / "host")
    assert path.is_file()
    assert store.read_card(path).judge_result["proven"] is True


def test_the_wrong_person_is_refused(school: School, tmp_path: Path) -> None:
    stranger = TARGETS[-1] + 60
    weights = school.tune(
        lambda generator: join(
            school.swap_in(generator, stranger, school.source, 4), school.keep_others(generator, 4)
        ),
        steps=80,
    )
    run = plant_run(school, weights, *split_honestly(school.stage))
    report = _judge(school, run)
    assert not report.proven
    assert _find_outcomes(report)["face_l1"] != "won"
    assert _refuses(school, run, tmp_path / "host")


def test_ruining_others_is_refused(school: School, tmp_path: Path) -> None:
    def teach(generator: numpy.random.Generator) -> Lesson:
        asked = school.swap_in(generator, PERSON, school.source, 4)
        other = school.others[int(generator.integers(len(school.others)))]
        return join(asked, school.swap_in(generator, PERSON, other, 4))

    run = plant_run(school, school.tune(teach, steps=100), *split_honestly(school.stage))
    report = _judge(school, run)
    outcomes = _find_outcomes(report)
    assert "won" in (outcomes["face_l1"], outcomes["judge_targets"])
    assert "lost" in (outcomes["others_l1"], outcomes["others_towards_person"])
    assert not report.proven
    assert _refuses(school, run, tmp_path / "host")


def test_fooling_the_training_recogniser_is_refused(school: School, tmp_path: Path) -> None:
    analyser = school.stage.analyser
    recogniser = TorchRecogniser(analyser.get_recogniser())
    recogniser.requires_grad_(False)
    wanted = torch.from_numpy(school.vector)
    unmoved = torch.eye(2, 3)

    def teach(generator: numpy.random.Generator) -> Lesson:
        asked = school.swap_in(generator, PERSON, school.source, 4)
        return Lesson(asked.targets, asked.sources, school.run_base(asked.targets, asked.sources))

    def please(made: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        vectors = recogniser(made, unmoved.expand(len(made), -1, -1))
        return 0.2 * (1 - vectors @ wanted).mean()

    run = plant_run(school, school.tune(teach, 100, please), *split_honestly(school.stage))
    report = _judge(school, run)
    figures = report.figures
    assert figures["own_targets"].change.low > 0.05
    assert figures["recogniser_gap"].change.low > 0
    assert not report.proven
    assert _refuses(school, run, tmp_path / "host")


def test_learning_frames_by_heart_is_refused(school: School, tmp_path: Path) -> None:
    stage = school.stage
    train, held_out = split_at_random(stage)
    base = BaseSwapper(
        lambda targets, sources: run_session(session, targets, sources), school.options
    )
    session = create_session(school.options.path, "base")
    crops = load_crops(stage.person, train, stage.analyser, school.options)
    vector = school.vector.astype(numpy.float64)
    seen = make_pairs(crops, school.maker, base, stage.analyser, vector, 1)
    inputs = torch.from_numpy(seen.inputs[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    truths = load_pictures(school, train)

    def teach(generator: numpy.random.Generator) -> Lesson:
        rows = torch.from_numpy(generator.integers(0, len(train), 8))
        return Lesson(inputs[rows], school.source.expand(8, -1), truths[rows])

    run = plant_run(school, school.tune(teach, steps=120), train, held_out)
    tuned_session = create_session(run.model_path, "tuned")
    tuned = BaseSwapper(
        lambda targets, sources: run_session(tuned_session, targets, sources), school.options
    )
    crops = load_crops(stage.person, held_out, stage.analyser, school.options)
    pairs = make_pairs(crops, school.maker, base, stage.analyser, vector, HELD_OUT_SEED)
    sources = numpy.repeat(school.source.numpy()[None], len(crops), axis=0)
    swaps = [rgb_to_crops(model.swap(pairs.inputs, sources)) for model in (base, tuned)]
    naive = {figure.key: figure for figure in measure_held_out(pairs, *swaps)[0]}
    # What everybody would have reported: a clear win on frames that were "held out".
    assert naive["face_l1"].change.high is not None
    assert naive["face_l1"].change.high < -1.0
    with pytest.raises(EvaluationError, match="no held-out shot is left"):
        _judge(school, run)
    assert _refuses(school, run, tmp_path / "host")
