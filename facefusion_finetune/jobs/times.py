"""The duration of a training on this machine, from earlier jobs."""

import math
from dataclasses import dataclass
from datetime import datetime

from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job, JobState


@dataclass(frozen=True)
class MeasuredTime:
    """Measured or estimated duration of a whole training."""

    seconds: float
    is_estimate: bool
    """Whether it is an estimate from a dry run."""
    when: datetime


def find_time(base: str, preset: str) -> MeasuredTime | None:
    """The latest duration for a base and preset, for any person.

    Whole trainings take precedence over estimates. Resumed trainings are ignored.

    Args:
        base: The base, as named in the jobs.
        preset: The preset, as named in the jobs.
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
