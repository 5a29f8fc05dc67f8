"""`facefusion-finetune jobs ...`: the queue of FaceFusion's tab."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facefusion_finetune.cli.shared import Json, print_lines
from facefusion_finetune.errors import to_line
from facefusion_finetune.runs.observer import format_seconds

if TYPE_CHECKING:
    from facefusion_finetune.jobs.record import DamagedJob, Job, JobState

jobs_app = typer.Typer(
    help="The queue of FaceFusion's tab: list, show and stop jobs.", no_args_is_help=True
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="An id from `jobs list`.")]


@jobs_app.command("list")
def list_jobs(as_json: Json = False) -> None:
    """List all jobs, oldest first.

    Damaged jobs are listed as well, with the file and the reason; in JSON, these are in `damaged`,
    which is null for intact jobs, and unknown values are null.
    """
    from facefusion_finetune.jobs import queue

    jobs = queue.scan_jobs()
    if as_json:
        typer.echo(json.dumps([_to_dict(job) for job in jobs], indent=2))
    else:
        print_lines(map(_describe, jobs), "There are no jobs.")


@jobs_app.command("show")
def show_job(job_id: JobId, as_json: Json = False) -> None:
    """Show a job's state, and the end of its log."""
    from facefusion_finetune.jobs import queue

    job = queue.find_job(job_id)
    if as_json:
        typer.echo(json.dumps(_to_dict(job) | {"log": job.read_log()}, indent=2))
        return
    state = job.state
    typer.echo(f"{job.id}: {job.request.kind} of {job.request.person}, {_describe_state(state)}")
    for note in state.notes:
        typer.echo(to_line(note))
    if state.error is not None:
        error = state.error
        typer.echo(f"error: {error.given}\n  why:  {error.why}\n  do:   {error.todo}")
    if state.result:
        typer.echo(json.dumps(state.result, indent=2))
    typer.echo(f"log: {job.log_path}")
    typer.echo(job.read_log().rstrip())


@jobs_app.command("stop")
def stop_job(job_id: JobId) -> None:
    """Stop a job; a training can be resumed, and an extraction continues when started again."""
    from facefusion_finetune.jobs import queue

    job = queue.find_job(job_id)
    queue.request_stop(job)
    typer.echo(f"{job.id}: {job.state.status}.")


def _describe_state(state: "JobState") -> str:
    words: list[str] = [state.status]
    if state.is_active and state.stage:
        words.append(state.stage)
    if state.total:
        words.append(f"{state.done} of {state.total}")
    if state.seconds_left is not None:
        words.append(f"{format_seconds(state.seconds_left)} left")
    return ", ".join(words)


def _describe(job: "Job | DamagedJob") -> str:
    from facefusion_finetune.jobs.record import DamagedJob

    if isinstance(job, DamagedJob):
        return f"{job.id}  {job.person}  damaged: {job.error.cause}"
    damage = job.find_damage()
    damaged = f", damaged: {damage.cause}" if damage else ""
    return f"{job.id}  {job.request.person}  {_describe_state(job.state)}{damaged}"


def _to_dict(job: "Job | DamagedJob") -> dict[str, Any]:
    from facefusion_finetune.jobs.record import DamagedJob, JobRequest

    if isinstance(job, DamagedJob):
        known = {"id": job.id, "person": job.person, "directory": str(job.directory)}
        unknown = dict.fromkeys((*JobRequest.model_fields, "state"))
        return {**unknown, **known, "damaged": job.error.cause}
    damage = job.find_damage()
    return {
        **job.request.model_dump(mode="json"),
        "state": job.state.model_dump(mode="json"),
        "directory": str(job.directory),
        "damaged": damage and damage.cause,
    }
