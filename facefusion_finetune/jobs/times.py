"""How long a training takes on this machine, from the jobs that were done on it."""

import math
from dataclasses import dataclass
from datetime import datetime

from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job, JobState


@dataclass(frozen=True)
class MeasuredTime:
    """How long a whole training took, or would take."""

    seconds: float
    is_estimate: bool
    """Whether it follows from two steps, not from a whole training."""
    when: datetime


def find_time(base: str, preset: str) -> MeasuredTime | None:
    """The latest measurement of a base with a preset, of whichever person.

    A whole training counts over an estimate. One that went on after a stop says nothing.

    Args:
        base: As the jobs name it.
        preset: As the jobs name it.
    """
    found = [
        measured
        for job in queue.list_jobs(None)
        if job.request.arguments.get("base") == base
        and job.request.arguments.get("preset") == preset
        and (measured := _measure(job, job.state)) is not None
    ]
    return max(found, key=lambda time: (not time.is_estimate, time.when), default=None)


def _measure(job: Job, state: JobState) -> MeasuredTime | None:
    if state.status != "done" or state.started is None or state.ended is None:
        return None
    if job.request.kind == "estimate":
        seconds = state.result.get("seconds_total")
        if not isinstance(seconds, int | float) or not math.isfinite(seconds):
            return None
        return MeasuredTime(float(seconds), True, state.ended)
    if job.request.kind == "train" and not job.request.arguments.get("resume"):
        return MeasuredTime((state.ended - state.started).total_seconds(), False, state.ended)
    return None
