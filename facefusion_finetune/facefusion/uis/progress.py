"""The state of a job as HTML."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facefusion_finetune.facefusion.uis import embed
from facefusion_finetune.facefusion.uis.page import name_on_page, translate
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import UPLOAD_FOLDERS, DamagedJob, Job, JobState
from facefusion_finetune.runs.observer import format_seconds


@dataclass(frozen=True)
class DrawnJob:
    """A job as shown on the page."""

    html: str
    is_open: bool
    """Whether it is queued or running: it can be stopped, and no other one can be started."""


def find_latest_job(name: str | None, kinds: Sequence[str]) -> Job | None:
    """The newest readable job of a person that is of one of the kinds."""
    jobs = queue.list_jobs(name) if name else []
    return next((job for job in reversed(jobs) if job.request.kind in kinds), None)


def list_problems(name: str | None, kinds: Sequence[str]) -> list[str]:
    """Errors of a person's damaged jobs of the given kinds, which are told by their ids."""
    jobs = queue.scan_jobs(name) if name else []
    return [
        str(job.error)
        for job in jobs
        if isinstance(job, DamagedJob) and job.id.endswith(tuple(f"-{kind}" for kind in kinds))
    ]


def stop_jobs(name: str, kinds: Sequence[str]) -> None:
    """Request a stop of a person's queued and running jobs of the given kinds."""
    for job in queue.list_jobs(name):
        if job.request.kind in kinds and not job.state.is_ended:
            queue.request_stop(job)


def fingerprint_jobs(name: str | None, kinds: Sequence[str]) -> Any:
    """A value that changes whenever `draw_latest_job` does."""
    job, problems = find_latest_job(name, kinds), list_problems(name, kinds)
    if job is None:
        return name, None, problems
    state = job.state
    waiting = queue.count_jobs_ahead(job) if state.status == "queued" else 0
    return name, job.id, state.model_dump(), waiting, problems


def draw_latest_job(name: str | None, kinds: Sequence[str]) -> DrawnJob:
    """The newest job of a person of the given kinds, and the errors of damaged ones; empty if there
    are none.
    """
    job, problems = find_latest_job(name, kinds), embed.bullets(list_problems(name, kinds))
    if job is None:
        return DrawnJob(problems, False)
    return DrawnJob(draw_job(job) + problems, not job.state.is_ended)


def draw_job(job: Job) -> str:
    """HTML of a job: its progress, its result, or why it failed."""
    state = job.state
    parts = [embed.paragraph(describe_status(job, state))]
    if not state.is_ended:
        parts.append(_draw_bar(state))
    if state.error is not None:
        said = f"{state.error.given}: {state.error.why} {state.error.todo}"
        parts.append(embed.paragraph(_name_uploads(job, name_on_page(said))))
    parts.append(embed.bullets([_name_uploads(job, name_on_page(note)) for note in state.notes]))
    if state.status == "failed":
        log = html.escape(job.read_log())
        summary = html.escape(translate("jobs.log"))
        parts.append(
            f"<details><summary>{summary}</summary>"
            f"<pre style='white-space:pre-wrap;font-size:0.75rem'>{log}</pre></details>"
        )
    return "".join(parts)


def _name_uploads(job: Job, text: str) -> str:
    """Name uploaded files as the user knows them, without the folder that they were moved to."""
    for folder in UPLOAD_FOLDERS:
        text = text.replace(f"{job.directory / folder}{os.sep}", "")
    return text


def describe_status(job: Job, state: JobState) -> str:
    """The status and stage of a job, in one line."""
    if state.status == "queued":
        ahead = queue.count_jobs_ahead(job)
        notations = {0: "jobs.queued_next", 1: "jobs.queued_one"}
        return translate(notations.get(ahead, "jobs.queued"), count=ahead)
    if state.status == "done":
        return _describe_result(job, state) or translate("jobs.done")
    if state.is_ended:
        return translate(f"jobs.{state.status}")
    words = [translate("jobs.stopping")] if state.status == "stopping" else []
    words.append(state.stage or translate("jobs.starting"))
    if state.done is not None and state.total:
        words.append(translate("jobs.steps", done=state.done, total=state.total))
    if state.seconds_left is not None:
        words.append(translate("jobs.left", time=format_seconds(state.seconds_left)))
    return ", ".join(words)


def _draw_bar(state: JobState) -> str:
    label = html.escape(translate("jobs.progress"), quote=True)
    share = 100 * min(state.done / state.total, 1) if state.done and state.total else 0
    return (
        f'<div role="progressbar" aria-label="{label}" aria-valuenow="{share:.0f}"'
        ' aria-valuemin="0" aria-valuemax="100" class="finetune-bar">'
        f'<div style="width:{share:.1f}%"></div></div>'
    )


def _describe_result(job: Job, state: JobState) -> str:
    result = state.result
    if job.request.kind != "extract":
        return str(result.get("sentence", ""))
    sentences = [
        translate(
            "footage.result",
            kept=result.get("kept"),
            faces=result.get("faces"),
            frames=result.get("frames"),
            total=result.get("total_kept"),
        )
    ]
    rejected = result.get("rejected")
    if rejected and isinstance(rejected, dict):
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        sentences.append(translate("footage.result_rejected", reasons=reasons))
    if result.get("known_sources"):
        sentences.append(translate("footage.result_known", known=result["known_sources"]))
    if result.get("others"):
        sentences.append(translate("footage.result_others", others=result["others"]))
    return " ".join(sentences)
