"""What to film next, in sentences."""

from facefusion_finetune.dataset.coverage.measure import LEVEL, UNKNOWN, YAWS, Coverage
from facefusion_finetune.dataset.coverage.text import count, to_printable
from facefusion_finetune.dataset.split import ADVISED_SHOTS

MAX_SENTENCES = 6
FEW_CROPS = 40
"""With fewer kept crops, there is little to train on, whatever they show."""
ENOUGH_OF_A_VIEW = 5
"""Crops of a profile, or of a head looking up or down: about a second of video."""
ENOUGH_OF_AN_EXPRESSION = 3
"""Crops with closed eyes or open mouth: both are brief."""
BASE_SIZE = 128
"""Crop size in pixels of the most used swapper."""
FACE_SHARE = 0.75
"""Shorter side of the face's box as a share of the swapper's crop."""
BLURRED_SHARE = 0.3
"""Share of the person's crops, including rejected ones, that suggests a camera problem."""
ONE_LIGHT_SHARE = 0.9
"""Share of the crops in one light and exposure, from which the light counts as uniform."""
MIXED_SHARE = 0.05
"""Share of the crops with, or without, glasses above which both would be learnt."""
DOMINANT_SHARE = 0.6
"""Share of the crops in one shot above which it dominates the others."""
KNOWN_SHARE = 0.5
"""Share of the crops that must be measured before something is reported as missing."""

NOTHING_MISSING = "Nothing obvious is missing."


def advise(coverage: Coverage, base_size: int = BASE_SIZE) -> list[str]:
    """Say what to film next, most valuable first, or that nothing obvious is missing.

    Args:
        coverage: Coverage of the person's crops.
        base_size: Crop size in pixels of the swapper that will be tuned.

    Returns:
        One to `MAX_SENTENCES` pieces of advice, each one or two sentences long.
    """
    if not coverage.kept:
        if coverage.rejected:
            return [
                "All crops are rejected: look at them (dataset review), restore good ones, or"
                " extract other footage."
            ]
        return [
            f"There are no crops yet: film {ADVISED_SHOTS} clips of about 20 s in different places"
            " and light, then extract them."
        ]
    advice = [
        *_advise_amount(coverage),
        *_advise_quality(coverage, base_size),
        *_advise_glasses(coverage),
        *_advise_profiles(coverage),
        *_advise_expressions(coverage),
        *_advise_light(coverage),
        *_advise_up_and_down(coverage),
        *_advise_balance(coverage),
    ]
    return advice[:MAX_SENTENCES] or [NOTHING_MISSING]


def _advise_amount(coverage: Coverage) -> list[str]:
    advice = []
    shots = len(coverage.shots)
    if shots < ADVISED_SHOTS:
        advice.append(
            f"Only {count(shots, 'shot')}: film {ADVISED_SHOTS - shots} more of about 20 s each, in"
            " other places and other light, ideally on other days."
        )
    if coverage.kept < FEW_CROPS:
        advice.append(
            f"Only {count(coverage.kept, 'crop')}, and even {FEW_CROPS} are few: film 30 s while"
            " turning your head and moving your face."
        )
    if not _is_known(coverage, coverage.pose_unknown):
        advice.append(
            f"The pose is unknown in {coverage.pose_unknown} of {count(coverage.kept, 'crop')}, so"
            " missing poses cannot be found: extract the footage again."
        )
    return advice


def _advise_quality(coverage: Coverage, base_size: int) -> list[str]:
    advice = []
    needed = FACE_SHARE * base_size
    if coverage.size is not None and coverage.size.median < needed:
        advice.append(
            f"The face is small: at most {coverage.size.median:.0f} pixels wide in half of the"
            f" crops, while a swapper of {base_size} pixels needs {needed:.0f}. Film 20 s closer to"
            " the camera, or in a higher resolution."
        )
    found = coverage.kept + coverage.rejected
    if coverage.blurred >= BLURRED_SHARE * found:
        advice.append(
            f"{coverage.blurred} of {count(found, 'crop')} are blurred: film 20 s with more light,"
            " a steady camera and the focus on the face."
        )
    return advice


def _advise_glasses(coverage: Coverage) -> list[str]:
    on, off = coverage.glasses["with"], coverage.glasses["without"]
    if min(on, off) <= MIXED_SHARE * (on + off):
        return []
    return [
        f"Glasses are on in {count(on, 'crop')} and off in {off}, and the model would mix them:"
        " reject the smaller group (dataset reject), or create two persons."
    ]


def _advise_profiles(coverage: Coverage) -> list[str]:
    columns = {"left": len(YAWS) - 1, "right": 0}
    few = {
        f"to your {side}": number
        for side, column in columns.items()
        if (number := coverage.count_yaw(column)) < ENOUGH_OF_A_VIEW
    }
    if not few or not _is_known(coverage, coverage.pose_unknown):
        return []
    return [
        f"{_describe_few('profile', few)}: film {10 * len(few)} s turning your head slowly"
        f" {' and then '.join(few)}, until only one ear is visible."
    ]


def _advise_expressions(coverage: Coverage) -> list[str]:
    few = []
    how = []
    if _is_scarce(coverage, coverage.mouth, "open"):
        few.append("the mouth is open")
        how += ["talking", "laughing"]
    if _is_scarce(coverage, coverage.eyes, "closed"):
        few.append("the eyes are closed")
        how.append("blinking slowly")
    if not few:
        return []
    words = " and ".join(filter(None, [", ".join(how[:-1]), how[-1]]))
    return [f"Hardly any crop in which {' or '.join(few)}: film {10 * len(few)} s {words}."]


def _advise_light(coverage: Coverage) -> list[str]:
    known = coverage.kept - coverage.light[UNKNOWN]
    if not _is_known(coverage, coverage.light[UNKNOWN]):
        return []
    if coverage.same_light < ONE_LIGHT_SHARE * known:
        return []
    return [
        f"The light is the same in {coverage.same_light} of {count(known, 'crop')}: film 10 s with"
        " a window on your left, 10 s with it on your right, and 10 s under a lamp."
    ]


def _advise_up_and_down(coverage: Coverage) -> list[str]:
    rows = {"up": LEVEL - 1, "down": LEVEL + 1}
    few = {
        f"looking {way}": number
        for way, row in rows.items()
        if (number := coverage.count_pitch(row)) < ENOUGH_OF_A_VIEW
    }
    if not few or not _is_known(coverage, coverage.pose_unknown):
        return []
    return [
        f"{_describe_few('crop', few)}: film {10 * len(few)} s {' and then '.join(few)} with the"
        " whole head, while turning it from side to side."
    ]


def _advise_balance(coverage: Coverage) -> list[str]:
    if len(coverage.shots) < ADVISED_SHOTS:
        return []
    largest = max(coverage.shots, key=lambda shot: shot.crops)
    if largest.crops <= DOMINANT_SHARE * coverage.kept:
        return []
    return [
        f"Shot {largest.number} ({to_printable(largest.source)}) alone has {largest.crops} of"
        f" {count(coverage.kept, 'crop')}: film 20 s in each of the other places."
    ]


def _describe_few(noun: str, few: dict[str, int]) -> str:
    """`No profile to your left`, or the numbers per direction."""
    if not any(few.values()):
        return f"No {noun} {' or '.join(few)}"
    numbers = (f"{number or 'none'} {way}" for way, number in few.items())
    return f"Few {noun}s ({', '.join(numbers)})"


def _is_scarce(coverage: Coverage, counts: dict[str, int], kind: str) -> bool:
    return _is_known(coverage, counts[UNKNOWN]) and counts[kind] < ENOUGH_OF_AN_EXPRESSION


def _is_known(coverage: Coverage, unknown: int) -> bool:
    return coverage.kept - unknown >= KNOWN_SHARE * coverage.kept
