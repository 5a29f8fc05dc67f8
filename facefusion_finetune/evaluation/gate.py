"""The activation gate: when a tuned model counts as better, and what must not get worse.

The outcomes and margins were fixed before any model was evaluated with them. A model passes if the
whole interval of one of the two primary outcomes is on the better side, the other one is not worse,
and pose, expression and other people's swaps are non-inferior. Non-inferior and not worse mean that
the unfavourable end of the interval stays within a margin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from facefusion_finetune.evaluation.figures import KINDS, Figure
from facefusion_finetune.evaluation.report import Check, Outcome, Role, Verdict


@dataclass(frozen=True)
class Margin:
    """How much worse a figure may get."""

    size: float
    relative: bool = False
    """Whether `size` is a share of the base's score."""

    def of(self, figure: Figure) -> float:
        """The margin in the figure's unit."""
        return self.size * abs(figure.before or 0.0) if self.relative else self.size


PRIMARY = {"judge_targets": Margin(0.03), "face_l1": Margin(0.05, relative=True)}
"""The primary outcomes, each with its margin for counting as not worse."""

UNHARMED = {
    "pose": Margin(1.0),
    "blink": Margin(0.03),
    "mouth": Margin(0.03),
    "gaze": Margin(0.05),
    "lost_faces": Margin(0.05),
    "others_identity": Margin(0.03),
    "others_towards_person": Margin(0.03),
}

OTHERS_ERROR = Margin(0.03, relative=True)
"""How much the distance of others' swaps to their true swaps may grow, if these are known."""

OTHERS_DRIFT = 0.25
"""How much others' swaps may differ from the base's if true swaps are unknown, as a share of the
base's distance to real photographs."""


@dataclass(frozen=True)
class Decision:
    """The verdict on a model."""

    verdict: Verdict
    sentence: str
    checks: list[Check]

    @property
    def reasons(self) -> list[str]:
        """Why the model is not proven; empty if it is."""
        faults = [check for check in self.checks if check.outcome not in ("won", "held")]
        reasons = [f"{check.title}: {check.text}" for check in faults]
        if not any(check.outcome == "won" for check in self.checks):
            reasons.insert(0, "Neither of the two primary outcomes improved.")
        return reasons

    @property
    def is_proven(self) -> bool:
        """Whether the model may be activated without `--force`."""
        return self.verdict == "better" and not self.reasons


def decide(
    figures: Mapping[str, Figure],
    missing: Mapping[str, str],
    conditions: list[Check],
    is_comparable: bool = True,
) -> Decision:
    """Apply the activation gate.

    Args:
        figures: All measured figures, by key.
        missing: Reason for each figure that was not measured.
        conditions: Additional conditions, such as an independent judge.
        is_comparable: Whether the distance to the real photograph is meaningful, i.e. someone else
            was swapped on first.
    """
    primary = [
        _check_primary(key, figures.get(key), margin, missing)
        for key, margin in PRIMARY.items()
        if is_comparable or key != "face_l1"
    ]
    unharmed = [
        _check_unharmed(key, figures.get(key), margin, missing) for key, margin in UNHARMED.items()
    ]
    unharmed.append(_check_others(figures))
    checks = [*primary, *unharmed, *conditions]
    outcomes = {check.outcome for check in primary}
    if outcomes <= {"not measured"}:
        return Decision("not judged", "This model could not be judged; see the reasons.", checks)
    won = [check for check in primary if check.outcome == "won"]
    gained = _join([_lower(check.title) for check in won]) if won else ""
    lost = [check for check in [*primary, *unharmed] if check.outcome == "lost"]
    if lost:
        harm = _join([_lower(check.title) for check in lost])
        sentence = (
            f"The tuned model is better on held-out footage ({gained}), but worse elsewhere:"
            f" {harm}."
            if won
            else f"The tuned model is worse on held-out footage: {harm}."
        )
        return Decision("worse", sentence, checks)
    if not won:
        return Decision(
            "no difference",
            "On held-out footage, no difference between the tuned model and the base is shown.",
            checks,
        )
    open_ones = [
        check for check in [*primary, *unharmed] if check.outcome in ("open", "not measured")
    ]
    if [check for check in open_ones if check.outcome == "open" or check.role != "primary"]:
        doubts = _join([_lower(check.title) for check in open_ones[:2]])
        more = f", and {len(open_ones) - 2} more" if len(open_ones) > 2 else ""
        return Decision(
            "no difference",
            f"The tuned model is better on held-out footage ({gained}), but it is not certain that"
            f" nothing else got worse (open: {doubts}{more}).",
            checks,
        )
    return Decision("better", f"The tuned model is better on held-out footage: {gained}.", checks)


def _check_primary(
    key: str, figure: Figure | None, margin: Margin, missing: Mapping[str, str]
) -> Check:
    if figure is None or figure.change.low is None or figure.change.high is None:
        return _answer(key, "primary", "not measured", _explain_absence(key, figure, missing))
    best, worst = orient_change(figure)
    text = _describe(figure)
    if worst < 0:
        return _answer(key, "primary", "won", f"better, {text}.")
    if best > 0:
        return _answer(key, "primary", "lost", f"worse, {text}.")
    if worst <= margin.of(figure):
        return _answer(key, "primary", "held", f"not worse, {text}.")
    return _answer(key, "primary", "open", f"no significant change, {text}.")


def _check_unharmed(
    key: str, figure: Figure | None, margin: Margin, missing: Mapping[str, str]
) -> Check:
    if figure is None or figure.change.low is None or figure.change.high is None:
        text = _explain_absence(key, figure, missing)
        return _answer(key, "non-inferiority", "not measured", text)
    best, worst = orient_change(figure)
    limit = margin.of(figure)
    text = f"{_describe(figure)}; the margin is {limit:.3g}."
    outcome: Outcome = "held" if worst <= limit else "lost" if best > limit else "open"
    words = {"held": "not worse", "lost": "worse", "open": "not certain"}
    return _answer(key, "non-inferiority", outcome, f"{words[outcome]}, {text}")


def _check_others(figures: Mapping[str, Figure]) -> Check:
    """Whether swaps of other people are unchanged."""
    if "others_l1" in figures:
        return _check_unharmed("others_l1", figures["others_l1"], OTHERS_ERROR, {})
    key = "others_drift"
    drift, distance = figures.get(key), figures.get("face_l1")
    if drift is None or drift.change.high is None or distance is None or not distance.before:
        why = "there was no one else to swap in, or too little footage."
        return _answer(key, "non-inferiority", "not measured", why)
    limit = OTHERS_DRIFT * distance.before
    low, high = drift.change.low or 0.0, drift.change.high
    outcome: Outcome = "held" if high <= limit else "lost" if low > limit else "open"
    words = {"held": "not worse", "lost": "worse", "open": "not certain"}
    text = (
        f"{words[outcome]}, {drift.change.mean:.2f} ({low:.2f} to {high:.2f}) grey levels; the"
        f" margin is {limit:.2f}, a quarter of the base's distance to real photographs."
    )
    return _answer(key, "non-inferiority", outcome, text)


def _answer(key: str, role: Role, outcome: Outcome, text: str) -> Check:
    """The check of a figure."""
    return Check(name=key, title=KINDS[key].title, role=role, outcome=outcome, text=text)


def orient_change(figure: Figure) -> tuple[float, float]:
    """Best and worst end of the change's interval, with the sign chosen so that larger is worse.

    Args:
        figure: A figure with an interval.
    """
    low, high = figure.change.low or 0.0, figure.change.high or 0.0
    return (-high, -low) if KINDS[figure.key].better == "more" else (low, high)


def _describe(figure: Figure) -> str:
    change = figure.change
    return (
        f"{figure.before:.3f} before, {figure.after:.3f} after, change {change.mean:+.3f}"
        f" ({change.low:+.3f} to {change.high:+.3f}) {KINDS[figure.key].unit}"
    )


def _explain_absence(key: str, figure: Figure | None, missing: Mapping[str, str]) -> str:
    if figure is not None:
        return (
            f"{figure.blocks} independent stretches of footage are too few for an interval; extract"
            " more shots."
        )
    return missing.get(key, "there is nothing to measure it on.")


def _join(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]
