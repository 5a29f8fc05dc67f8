"""Which of the faces in the footage are the person."""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import FootageError

SAME_PERSON_COSINE = 0.4
"""Two vectors above this count as one person: the host's default reference distance of 0.3."""

SECOND_PERSON_SHARE = 0.1
"""Another person in at least this share of the frames makes the footage ambiguous."""

SECOND_PERSON_FRAMES = 3
"""Fewer frames than this never do: prints on clothes are found as faces now and then."""


@dataclass(frozen=True)
class IdentityChoice:
    """Which faces are the person, and how sure that is."""

    is_person: list[bool]
    others: int
    """Number of other people seen often enough to count."""


def choose_person(
    embeddings: NDArray[numpy.float32],
    frames: list[str],
    anchor: NDArray[numpy.float64] | None,
    footage: str,
) -> IdentityChoice:
    """Group the faces by likeness and say which group is the person.

    Args:
        embeddings: (n, 512), one row a face, not normalised.
        frames: The frame each face was found in.
        anchor: (512,) unit vector of the person where it is known (a reference image, or crops
            kept earlier); otherwise the largest group is taken, if it stands alone.
        footage: Name of the footage, for the error.

    Raises:
        FootageError: Several people are shown and nothing says which one is meant, or the
            person meant is not there.
    """
    directions = embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = _group(directions)
    count = int(labels.max()) + 1
    frame_array = numpy.asarray(frames)
    seen = [len(set(frame_array[labels == label].tolist())) for label in range(count)]
    total = len(set(frames))
    limit = max(SECOND_PERSON_FRAMES, SECOND_PERSON_SHARE * total)
    order = sorted(range(count), key=lambda label: -seen[label])
    if anchor is not None:
        similarity = [float(_mean(directions[labels == label]) @ anchor) for label in range(count)]
        chosen = int(numpy.argmax(similarity))
        if similarity[chosen] < SAME_PERSON_COSINE:
            raise FootageError(
                footage,
                "none of the faces in it is the person (best likeness"
                f" {similarity[chosen]:.2f}, needed {SAME_PERSON_COSINE}).",
                "Check the reference and the footage.",
            )
    else:
        chosen = order[0]
        others = [label for label in order[1:] if seen[label] >= limit]
        if others:
            counts = ", ".join(str(seen[label]) for label in [chosen, *others])
            raise FootageError(
                footage,
                f"it shows {len(others) + 1} people (in {counts} of {total} frames), and nothing"
                " says which one is meant.",
                "Give --reference IMAGE with a picture of the person, or leave out the footage of"
                " the others.",
            )
    is_person = _one_per_frame(directions, labels == chosen, frames)
    others_count = sum(1 for label in order if label != chosen and seen[label] >= limit)
    return IdentityChoice(is_person, others_count)


def _group(directions: NDArray[numpy.float32]) -> NDArray[numpy.int64]:
    """Leader grouping with running means, then one pass that assigns to the nearest mean."""
    sums: list[NDArray[numpy.float32]] = []
    for direction in directions:
        if sums:
            means = numpy.stack(sums)
            means = means / numpy.linalg.norm(means, axis=1, keepdims=True)
            scores = means @ direction
            best = int(scores.argmax())
            if scores[best] > SAME_PERSON_COSINE:
                sums[best] = sums[best] + direction
                continue
        sums.append(direction.copy())
    means = numpy.stack(sums)
    means = means / numpy.linalg.norm(means, axis=1, keepdims=True)
    nearest = (directions @ means.T).argmax(axis=1)
    _, labels = numpy.unique(nearest, return_inverse=True)
    return labels.astype(numpy.int64)


def _one_per_frame(
    directions: NDArray[numpy.float32], member: NDArray[numpy.bool_], frames: list[str]
) -> list[bool]:
    """A person has one face a frame: of several look-alikes the one nearest to the mean."""
    mean = _mean(directions[member])
    best: dict[str, tuple[float, int]] = {}
    for index in numpy.flatnonzero(member):
        score = float(directions[index] @ mean)
        if frames[index] not in best or score > best[frames[index]][0]:
            best[frames[index]] = (score, int(index))
    chosen = {index for _, index in best.values()}
    return [index in chosen for index in range(len(frames))]


def _mean(directions: NDArray[numpy.float32]) -> NDArray[numpy.float64]:
    mean = directions.astype(numpy.float64).mean(axis=0)
    unit: NDArray[numpy.float64] = mean / numpy.linalg.norm(mean)
    return unit
