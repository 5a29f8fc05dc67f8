"""Decides which faces in the footage are the person.

Decisions are made per track: a face that is blurred or turned away is the same person as the faces
before and after it. Tracks are clustered by similarity; the person is the group that matches a
reference or the crops kept earlier, or the largest group if it clearly stands out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import FootageError

SECOND_PERSON_FRAMES = 3
"""Fewer frames do not count as a person: prints on clothes are sometimes detected as faces."""

CLEAR_MAJORITY = 2.0
"""How many times more often than anyone else the person must appear to be chosen."""

DOUBT_SHARE = 0.2
"""A group may be two look-alikes if its cosine is at most this share of the way from the
same-person cosine to 1; siblings are below it, other glasses and other light above."""

GAP_SHARE = 0.4
"""Look-alikes are closer within than between their groups, by at least this share of the distance
between the groups."""

FRONTAL = 30.0
"""Degrees of yaw from which a head counts as turned away."""

MAX_GROUPED = 2000
"""With more tracks, similar ones are merged greedily before clustering."""

Rows = NDArray[numpy.int64]


@dataclass(frozen=True)
class IdentityChoice:
    """Which faces are the person, and how many others there are."""

    is_person: list[bool]
    others: int
    """Number of other people seen often enough to count."""
    look_alikes: int
    """Number of rejected faces that are less similar to the person than the person's own faces, but
    more similar than strangers."""


@dataclass(frozen=True)
class _Group:
    """Faces assumed to show one person."""

    rows: Rows
    direction: NDArray[numpy.float64]
    frames: frozenset[str]
    is_look_alike: bool = False
    """Split off from a larger group."""


def choose_person(
    records: Sequence[CropRecord],
    anchors: NDArray[numpy.float64],
    same_person_cosine: float,
    footage: str,
) -> IdentityChoice:
    """Cluster the faces by similarity, and decide which group is the person.

    Args:
        records: All faces, with their embeddings, tracks and frames.
        anchors: (n, 512) unit vectors of the person, if known: reference images, or means of crops
            kept earlier. Without any, the largest group is chosen, if it stands out.
        same_person_cosine: See `FaceAnalyser`.
        footage: Name of the footage, for the error message.

    Raises:
        FootageError: It shows several people without a sign of which one is meant, or the person
            is not in it.
    """
    vectors = numpy.stack([record.embedding for record in records if record.embedding is not None])
    directions = vectors.astype(numpy.float64)
    directions /= numpy.linalg.norm(directions, axis=1, keepdims=True)
    frames = [f"{record.source_sha256} {record.frame}" for record in records]
    groups = [
        part
        for rows in _form_groups(directions, records, same_person_cosine)
        for part in _split_look_alikes(rows, directions, records, frames, same_person_cosine)
    ]
    groups.sort(key=lambda group: -len(group.frames))
    if len(anchors):
        chosen = _find_known(groups, anchors, same_person_cosine, footage)
    else:
        chosen = [_find_majority(groups, len(set(frames)), footage)]
    rest = [group for group in groups if not any(group is one for one in chosen)]
    person = _keep_one_per_frame(directions, chosen, frames)
    return IdentityChoice(
        [row in person for row in range(len(records))],
        sum(len(group.frames) >= SECOND_PERSON_FRAMES for group in rest),
        sum(len(group.rows) for group in rest if group.is_look_alike),
    )


def _form_groups(
    directions: NDArray[numpy.float64], records: Sequence[CropRecord], limit: float
) -> list[Rows]:
    """Rows of each person's faces, by average linkage of tracks."""
    tracks: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        tracks.setdefault(record.track or record.id, []).append(row)
    members = [numpy.array(rows) for rows in tracks.values()]
    if len(members) > MAX_GROUPED:
        members = _join_close(directions, members, (limit + 1) / 2)
    if len(members) == 1:
        return members
    means = numpy.stack([_mean(directions[rows]) for rows in members])
    labels = hierarchy.fcluster(_create_linkage(means), 1 - limit, criterion="distance")
    return [
        numpy.concatenate([members[place] for place in numpy.flatnonzero(labels == label)])
        for label in numpy.unique(labels)
    ]


def _join_close(
    directions: NDArray[numpy.float64], members: list[Rows], limit: float
) -> list[Rows]:
    """Merge each track with the most similar group, largest tracks first."""
    sums = numpy.zeros((len(members), directions.shape[1]))
    joined: list[list[Rows]] = []
    for rows in sorted(members, key=len, reverse=True):
        mean, count = _mean(directions[rows]), len(joined)
        if count:
            scores = sums[:count] @ mean / numpy.linalg.norm(sums[:count], axis=1)
            best = int(scores.argmax())
            if scores[best] > limit:
                joined[best].append(rows)
                sums[best] += mean * len(rows)
                continue
        joined.append([rows])
        sums[count] = mean * len(rows)
    return [numpy.concatenate(parts) for parts in joined]


def _split_look_alikes(
    rows: Rows,
    directions: NDArray[numpy.float64],
    records: Sequence[CropRecord],
    frames: Sequence[str],
    limit: float,
) -> list[_Group]:
    """The group as a whole, or split into parts if it seems to be several look-alikes."""
    tracks: dict[str, list[int]] = {}
    for row in rows:
        tracks.setdefault(records[row].track or records[row].id, []).append(int(row))
    whole = _Group(rows, _mean(directions[rows]), frozenset(frames[row] for row in rows))
    # The embedding of a head that is turned away is too vague to tell look-alikes apart.
    frontal = {
        name: numpy.array([row for row in part if _is_frontal(records[row])])
        for name, part in tracks.items()
    }
    members = [part for part in frontal.values() if len(part)]
    if not 1 < len(members) <= MAX_GROUPED:
        return [whole]
    root = hierarchy.to_tree(
        _create_linkage(numpy.stack([_mean(directions[part]) for part in members]))
    )
    across = 1 - root.dist
    parts, within = [], []
    for side in (root.get_left(), root.get_right()):
        leaves = side.pre_order()
        part = numpy.concatenate([members[leaf] for leaf in leaves])
        parts.append(part)
        within.append(1 - side.dist if len(leaves) > 1 else _measure_take(directions[part]))
    is_rare = min(len({frames[row] for row in part}) for part in parts) < SECOND_PERSON_FRAMES
    gap = (min(within) - across) / max(1 - across, 1e-9)
    if is_rare or across > limit + DOUBT_SHARE * (1 - limit) or gap < GAP_SHARE:
        return [whole]
    means = numpy.stack([_mean(directions[part]) for part in parts])
    joined: list[list[int]] = [[], []]
    for name, track in tracks.items():
        sure = frontal[name] if len(frontal[name]) else numpy.array(track)
        joined[int((means @ _mean(directions[sure])).argmax())] += track
    found = [
        group
        for part in map(numpy.array, joined)
        for group in _split_look_alikes(part, directions, records, frames, limit)
    ]
    return [_Group(group.rows, group.direction, group.frames, True) for group in found]


def _is_frontal(record: CropRecord) -> bool:
    yaw = record.measures.yaw if record.measures else None
    return yaw is None or abs(yaw) < FRONTAL


def _measure_take(directions: NDArray[numpy.float64]) -> float:
    """Average similarity of two faces of one track."""
    return float(numpy.linalg.norm(directions.mean(axis=0)) ** 2)


def _find_majority(groups: list[_Group], total: int, footage: str) -> _Group:
    """The largest group, if it stands out."""
    chosen, *rest = groups
    rivals = [
        group
        for group in rest
        if len(group.frames) >= SECOND_PERSON_FRAMES
        and len(group.frames) * CLEAR_MAJORITY > len(chosen.frames)
    ]
    if not rivals:
        return chosen
    counts = ", ".join(str(len(group.frames)) for group in [chosen, *rivals])
    alike = " who look alike" if all(group.is_look_alike for group in [chosen, *rivals]) else ""
    raise FootageError(
        footage,
        f"it shows {len(rivals) + 1} people{alike} (in {counts} of {total} frames), and it is not"
        " clear which one is meant.",
        "Give --reference IMAGE with a picture of the person; if all of them are the person, at"
        " different ages or with glasses, give one --reference per appearance. Or leave out the"
        " footage of the others.",
    )


def _find_known(
    groups: list[_Group], anchors: NDArray[numpy.float64], limit: float, footage: str
) -> list[_Group]:
    """The group most similar to each anchor, if any is similar enough."""
    likeness = numpy.stack([anchors @ group.direction for group in groups])
    if likeness.max() < limit:
        raise FootageError(
            footage,
            f"none of its faces is the person (best likeness {likeness.max():.2f}, required"
            f" {limit:.2f}).",
            "Check the reference and the footage.",
        )
    # Two blurred frames can be closer to an anchor than the mean of the person's many frames.
    is_rare = numpy.array([len(group.frames) < SECOND_PERSON_FRAMES for group in groups])
    often = numpy.where(is_rare[:, None], -1.0, likeness)
    best = [
        int((some if some.max() >= limit else every).argmax())
        for some, every in zip(often.T, likeness.T, strict=True)
        if every.max() >= limit
    ]
    chosen: list[_Group] = []
    for place in dict.fromkeys(best):
        # Faces that share frames with the person are someone else; earlier anchors take precedence.
        shared = [len(groups[place].frames & other.frames) for other in chosen]
        if max(shared, default=0) < SECOND_PERSON_FRAMES:
            chosen.append(groups[place])
    return chosen


def _keep_one_per_frame(
    directions: NDArray[numpy.float64], chosen: list[_Group], frames: Sequence[str]
) -> set[int]:
    """A person has one face per frame: of several, the one closest to its group's mean."""
    best: dict[str, tuple[float, int]] = {}
    for group in chosen:
        for row, score in zip(group.rows, directions[group.rows] @ group.direction, strict=True):
            if frames[row] not in best or score > best[frames[row]][0]:
                best[frames[row]] = (float(score), int(row))
    return {row for _, row in best.values()}


def _create_linkage(means: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Average linkage with the distance 1 - cosine."""
    linkage: NDArray[numpy.float64] = hierarchy.linkage(means, "average", "cosine")
    return linkage


def _mean(directions: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    mean = directions.mean(axis=0)
    unit: NDArray[numpy.float64] = mean / max(float(numpy.linalg.norm(mean)), 1e-12)
    return unit
