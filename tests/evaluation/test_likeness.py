"""What recognisers say of swaps."""

from dataclasses import dataclass, replace

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.evaluation.judges import LoadedRecogniser, open_recogniser
from facefusion_finetune.evaluation.likeness import Likeness, measure_likeness
from facefusion_finetune.evaluation.material import Material, Swaps
from tests.support.swaps import copy_targets

OF_A_JUDGE = {"judge_targets", "recogniser_gap", "retrieval_margin", "judge_held_out"}
OF_OTHERS = {"others_identity", "others_towards_person"}

Pictures = NDArray[numpy.float32]


@pytest.fixture(scope="module")
def recogniser(analyser: DemoAnalyser) -> LoadedRecogniser:
    return open_recogniser(analyser.get_recogniser())


@pytest.fixture(scope="module")
def judge(analyser: DemoAnalyser) -> LoadedRecogniser:
    return open_recogniser(analyser.get_judge())


def _real(material: Material) -> Pictures:
    """Frames of the person that are not held out, one for each target."""
    truths = material.trained.truths.astype(numpy.float32)
    return truths[: len(material.targets)]


def _measure(
    material: Material,
    swaps: tuple[Swaps, Swaps],
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser | None,
    analyser: DemoAnalyser,
) -> tuple[Likeness, dict[str, tuple[float, float]]]:
    """What is said, and before and after by key."""
    likeness = measure_likeness(material, *swaps, recogniser, judge, analyser)
    scores = {figure.key: (figure.before, figure.after) for figure in likeness.figures}
    return likeness, scores  # type: ignore[return-value]


def test_same_swaps_differ_by_nothing(
    material: Material,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser,
    analyser: DemoAnalyser,
) -> None:
    swaps = copy_targets(material)
    likeness, _ = _measure(material, (swaps, swaps), recogniser, judge, analyser)
    assert {figure.key for figure in likeness.figures} == OF_A_JUDGE | OF_OTHERS | {"own_targets"}
    for figure in likeness.figures:
        assert figure.change.mean == 0
        assert figure.change.low in (0, None)


def test_swaps_that_show_the_person_are_more_like_her(
    material: Material,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser,
    analyser: DemoAnalyser,
) -> None:
    before = copy_targets(material)
    after = replace(before, targets=_real(material))
    likeness, scores = _measure(material, (before, after), recogniser, judge, analyser)
    for key in ("judge_targets", "own_targets", "retrieval_margin"):
        assert scores[key][1] > scores[key][0] + 0.2
    # Untouched frames are nearer to who is in them, her own frames nearer to her.
    assert scores["retrieval_margin"][0] < 0 < scores["retrieval_margin"][1]
    figures = {figure.key: figure for figure in likeness.figures}
    ceiling = figures["judge_targets"].ceiling
    assert ceiling is not None
    assert scores["judge_targets"][0] < ceiling < 1
    assert scores["judge_targets"][1] == pytest.approx(ceiling, abs=0.15)
    gap = [
        own - sharp
        for own, sharp in zip(*(scores[k] for k in ("own_targets", "judge_targets")), strict=True)
    ]
    assert scores["recogniser_gap"] == pytest.approx(gap)
    assert likeness.judge_targets is not None
    assert [part.mean() for part in likeness.judge_targets] == pytest.approx(
        list(scores["judge_targets"])
    )
    assert scores["judge_held_out"][0] == scores["judge_held_out"][1]
    assert scores["others_identity"][0] == scores["others_identity"][1]


def test_others_who_turn_into_the_person_are_noticed(
    material: Material,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser,
    analyser: DemoAnalyser,
) -> None:
    before = copy_targets(material)
    vectors = numpy.stack([analyser.embed(target.crop) for target in material.targets])
    known = replace(
        material,
        other_vectors=vectors.mean(axis=0, keepdims=True),
        rows=numpy.array([[row, 0] for row in range(len(material.targets))]),
    )
    after = replace(before, others=_real(material))
    for asked in (judge, None):
        _, scores = _measure(known, (before, after), recogniser, asked, analyser)
        assert scores["others_identity"][0] > 0.8
        assert scores["others_identity"][1] < scores["others_identity"][0] - 0.1
        assert scores["others_towards_person"][1] > scores["others_towards_person"][0] + 0.1
        assert scores["own_targets"][0] == scores["own_targets"][1]


def test_without_a_judge_the_recogniser_alone_is_asked(
    material: Material, recogniser: LoadedRecogniser, analyser: DemoAnalyser
) -> None:
    swaps = copy_targets(material)
    likeness, scores = _measure(material, (swaps, swaps), recogniser, None, analyser)
    assert set(scores) == OF_OTHERS | {"own_targets"}
    assert likeness.judge_targets is None
    assert likeness.fault is None


def test_picture_bases_have_no_vectors_of_others(
    material: Material,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser,
    analyser: DemoAnalyser,
) -> None:
    swaps = copy_targets(material)
    pictured = replace(material, other_vectors=None)
    _, scores = _measure(pictured, (swaps, swaps), recogniser, judge, analyser)
    assert set(scores) == OF_A_JUDGE | {"own_targets", "others_towards_person"}
    alone = replace(swaps, others=None)
    _, scores = _measure(
        replace(material, others=None), (alone, alone), recogniser, judge, analyser
    )
    assert set(scores) == OF_A_JUDGE | {"own_targets"}


@dataclass(frozen=True)
class BlindJudge(LoadedRecogniser):
    """Sees the mean brightness and nothing else."""

    def embed(self, crops: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        generator = numpy.random.default_rng(int(crops.sum()) % 1000)
        return generator.standard_normal((len(crops), 64)).astype(numpy.float32)


def test_a_judge_that_guesses_is_found_out(
    material: Material,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser,
    analyser: DemoAnalyser,
) -> None:
    swaps = copy_targets(material)
    blind = BlindJudge(judge.options, judge.session, judge.sha256)
    likeness, _ = _measure(material, (swaps, swaps), recogniser, blind, analyser)
    assert likeness.fault is not None
    assert "does not distinguish the person from others" in likeness.fault
    likeness, _ = _measure(material, (swaps, swaps), recogniser, judge, analyser)
    assert likeness.fault is None
