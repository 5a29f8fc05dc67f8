"""The gate: what counts as better, what keeps it shut, and what is said of it."""

from collections.abc import Callable

import pytest

from facefusion_finetune.evaluation.figures import KINDS, Figure
from facefusion_finetune.evaluation.gate import Decision, decide
from facefusion_finetune.evaluation.intervals import Interval
from facefusion_finetune.evaluation.report import Check, Outcome

Figures = dict[str, Figure]


def _judge(outcome: Outcome, text: str) -> Check:
    title = "An independent judge"
    return Check(name="judge", title=title, role="condition", outcome=outcome, text=text)


HELD = _judge("held", "it is one.")
SHUT = _judge("failed", "there is none.")

LIKENESS = "likeness of swaps onto others, according to the judge"
DISTANCE = "distance to the real photograph"


def _figure(key: str, low: float | None, high: float | None, before: float = 10.0) -> Figure:
    mean = 0.0 if low is None or high is None else (low + high) / 2
    return Figure(key, before, before + mean, Interval(mean, low, high), 60, 12)


def _harmless(**changes: tuple[float | None, float | None]) -> Figures:
    """Neither outcome moved, nothing was harmed; `changes` are intervals by key."""
    intervals: dict[str, tuple[float | None, float | None]] = {
        "judge_targets": (-0.01, 0.01),
        "face_l1": (-0.1, 0.1),
        "pose": (-0.1, 0.1),
        "blink": (-0.01, 0.01),
        "mouth": (-0.01, 0.01),
        "gaze": (-0.01, 0.01),
        "lost_faces": (0.0, 0.0),
        "others_identity": (-0.01, 0.01),
        "others_towards_person": (-0.01, 0.01),
        "others_drift": (0.2, 0.6),
    }
    return {key: _figure(key, *ends) for key, ends in (intervals | changes).items()}


def _outcome(decision: Decision, name: str) -> str:
    return {check.name: check.outcome for check in decision.checks}[name]


WON = {"judge_targets": (0.02, 0.06), "face_l1": (-1.5, -0.5)}
"""Likeness is better when it is larger, a distance when it is smaller."""
LOST = {"judge_targets": (-0.06, -0.02), "face_l1": (0.5, 1.5)}
OPEN = {"judge_targets": (-0.06, 0.02), "face_l1": (-0.4, 0.8)}


@pytest.mark.parametrize(
    ("likeness", "distance", "verdict"),
    [
        (WON, WON, "better"),
        (WON, {}, "better"),
        ({}, WON, "better"),
        ({}, {}, "no difference"),
        (WON, OPEN, "no difference"),
        (OPEN, WON, "no difference"),
        (OPEN, OPEN, "no difference"),
        (WON, LOST, "worse"),
        (LOST, WON, "worse"),
        ({}, LOST, "worse"),
        (LOST, OPEN, "worse"),
    ],
)
def test_both_outcomes_decide(
    likeness: dict[str, tuple[float, float]],
    distance: dict[str, tuple[float, float]],
    verdict: str,
) -> None:
    changes = {}
    if likeness:
        changes["judge_targets"] = likeness["judge_targets"]
    if distance:
        changes["face_l1"] = distance["face_l1"]
    decision = decide(_harmless(**changes), {}, [HELD])
    assert decision.verdict == verdict
    assert decision.is_proven == (verdict == "better")
    assert bool(decision.reasons) == (verdict != "better")


@pytest.mark.parametrize(
    ("key", "bound", "sign"),
    [("judge_targets", 0.0, -1), ("face_l1", 0.0, 1)],
)
def test_an_interval_that_touches_nothing_has_not_won(key: str, bound: float, sign: int) -> None:
    ends = sorted((bound, -sign * 0.5))
    assert decide(_harmless(**{key: tuple(ends)}), {}, [HELD]).verdict == "no difference"
    ends = sorted((bound - sign * 1e-6, -sign * 0.5))
    assert decide(_harmless(**{key: tuple(ends)}), {}, [HELD]).verdict == "better"


UNHARMED = (
    ("pose", 1.0, 1),
    ("blink", 0.03, 1),
    ("mouth", 0.03, 1),
    ("gaze", 0.05, 1),
    ("others_identity", 0.03, -1),
    ("others_towards_person", 0.03, 1),
    ("others_drift", 2.5, 1),
)
"""Key, how much worse is allowed, and the direction of worse; drift may be a quarter of 10."""


@pytest.mark.parametrize(("key", "limit", "sign"), UNHARMED)
def test_what_must_stay_unharmed(key: str, limit: float, sign: int) -> None:
    def judge(best: float, worst: float) -> Decision:
        ends = sorted((sign * best * limit, sign * worst * limit))
        return decide(_harmless(**WON, **{key: tuple(ends)}), {}, [HELD])

    title = KINDS[key].title[0].lower() + KINDS[key].title[1:]
    held = judge(0.2, 0.99)
    assert (held.verdict, held.is_proven) == ("better", True)
    doubtful = judge(0.2, 1.2)
    assert (doubtful.verdict, doubtful.is_proven) == ("no difference", False)
    assert "not certain that nothing else got worse" in doubtful.sentence
    assert title in doubtful.sentence
    assert any(KINDS[key].title in reason for reason in doubtful.reasons)
    harmed = judge(1.1, 1.5)
    assert (harmed.verdict, harmed.is_proven) == ("worse", False)
    assert f"but worse elsewhere: {title}." in harmed.sentence
    assert [check.name for check in harmed.checks if check.outcome == "lost"] == [key]


@pytest.mark.parametrize("key", [key for key, _, _ in UNHARMED])
def test_what_was_not_measured_keeps_the_gate_shut(key: str) -> None:
    figures = _harmless(**WON)
    del figures[key]
    decision = decide(figures, {key: "the moon was full."}, [HELD])
    assert (decision.verdict, decision.is_proven) == ("no difference", False)
    assert _outcome(decision, key) == "not measured"
    figures[key] = _figure(key, None, None)
    assert not decide(figures, {}, [HELD]).is_proven


def test_absence_is_explained() -> None:
    figures = _harmless(**WON)
    del figures["gaze"]
    decision = decide(figures, {"gaze": "the moon was full."}, [HELD])
    assert decision.reasons == [f"{KINDS['gaze'].title}: the moon was full."]
    few = decide(figures | {"gaze": _figure("gaze", None, None)}, {}, [HELD])
    assert "12 independent stretches of footage" in few.reasons[0]


def test_without_a_judge_a_gain_is_said_but_not_proven() -> None:
    figures = _harmless(**WON)
    del figures["judge_targets"]
    decision = decide(figures, {"judge_targets": "there is none."}, [SHUT])
    assert decision.verdict == "better"
    assert not decision.is_proven
    assert "An independent judge: there is none." in decision.reasons


def test_a_judge_that_proves_nothing_keeps_the_gate_shut() -> None:
    decision = decide(_harmless(**WON), {}, [HELD, SHUT])
    assert (decision.verdict, decision.is_proven) == ("better", False)


def test_one_outcome_is_not_enough_where_the_other_is_unknown() -> None:
    figures = _harmless(judge_targets=WON["judge_targets"], face_l1=(None, None))
    assert not decide(figures, {}, [HELD]).is_proven
    figures = _harmless(face_l1=WON["face_l1"], judge_targets=(None, None))
    assert not decide(figures, {}, [HELD]).is_proven


def test_true_swaps_of_others_replace_the_drift_where_they_are_known() -> None:
    others = {"others_l1": (-0.1, 0.2), "others_drift": (3.0, 4.0)}
    decision = decide(_harmless(**WON, **others), {}, [HELD])
    assert decision.is_proven
    assert "others_drift" not in {check.name for check in decision.checks}
    # 3 % of 10 grey levels are allowed
    for ends, verdict in (((0.1, 0.4), "no difference"), ((0.4, 0.6), "worse")):
        assert decide(_harmless(**WON, others_l1=ends), {}, [HELD]).verdict == verdict


def test_where_nobody_was_swapped_on_the_distance_says_nothing() -> None:
    decision = decide(_harmless(**WON), {}, [HELD], is_comparable=False)
    assert "face_l1" not in {check.name for check in decision.checks}
    figures = _harmless(**WON)
    del figures["judge_targets"]
    alone = decide(figures, {}, [SHUT], is_comparable=False)
    assert (alone.verdict, alone.is_proven) == ("not judged", False)
    assert alone.reasons


def test_nothing_measured_is_not_judged() -> None:
    decision = decide({}, {}, [HELD])
    assert (decision.verdict, decision.is_proven) == ("not judged", False)
    assert all(check.outcome != "won" for check in decision.checks)


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        (WON, [f"better on held-out footage: {LIKENESS} and {DISTANCE}."], []),
        ({"face_l1": WON["face_l1"]}, [f"held-out footage: {DISTANCE}."], [LIKENESS]),
        ({}, ["no difference between the tuned model and the base"], [LIKENESS, DISTANCE]),
        ({"face_l1": LOST["face_l1"]}, [f"is worse on held-out footage: {DISTANCE}."], []),
        (
            {"judge_targets": WON["judge_targets"], "face_l1": LOST["face_l1"]},
            [f"is better on held-out footage ({LIKENESS})", f"elsewhere: {DISTANCE}."],
            [],
        ),
    ],
)
def test_sentence_names_what_won_and_what_lost(
    changes: dict[str, tuple[float, float]], said: list[str], unsaid: list[str]
) -> None:
    sentence = decide(_harmless(**changes), {}, [HELD]).sentence
    assert all(part in sentence for part in said)
    assert not any(part in sentence for part in unsaid)


@pytest.mark.parametrize("key", ["judge_targets", "face_l1", "pose", "others_drift"])
def test_checks_tell_the_numbers(key: str) -> None:
    low, high = {"others_drift": (0.21, 0.64)}.get(key, (-0.004, 0.006))
    render: Callable[[float], str] = "{:.2f}".format if key == "others_drift" else "{:+.3f}".format
    decision = decide(_harmless(**{key: (low, high)}), {}, [HELD])
    check = next(check for check in decision.checks if check.name == key)
    assert check.title == KINDS[key].title
    assert f"({render(low)} to {render(high)})" in check.text
    assert KINDS[key].unit in check.text
