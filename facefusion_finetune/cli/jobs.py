"""`facefusion-finetune jobs ...`: what FaceFusion's tab has put into the queue."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facefusion_finetune.cli.shared import Json, print_lines
from facefusion_finetune.runs.observer import format_seconds

if TYPE_CHECKING:
    from facefusion_finetune.jobs.record import Job, JobState

jobs_app = typer.Typer(
    help="The queue of FaceFusion's tab: look at its jobs, stop them.", no_args_is_help=True
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="As `jobs list` shows it.")]


@jobs_app.command("list")
def list_jobs(as_json: Json = False) -> None:
    """List all jobs, oldest first."""
    from facefusion_finetune.jobs import queue

    jobs = queue.list_jobs(on_note=lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps([_to_dict(job) for job in jobs], indent=2))
        return
    lines = (
        f"{job.id}  {job.request.person}  {_describe_state(job.state)}".rstrip() for job in jobs
    )
    print_lines(lines, "There are no jobs.")


@jobs_app.command("show")
def show_job(job_id: JobId, as_json: Json = False) -> None:
    """Show what became of a job, and the end of its log."""
    from facefusion_finetune.jobs import queue

    job = queue.find_job(job_id)
    if as_json:
        typer.echo(json.dumps(_to_dict(job) | {"log": job.read_log()}, indent=2))
        return
    state = job.state
    typer.echo(f"{job.id}: {job.request.kind} of {job.request.person}, {_describe_state(state)}")
    for note in state.notes:
        typer.echo(note)
    if state.error is not None:
        error = state.error
        typer.echo(f"error: {error.given}\n  why:  {error.why}\n  do:   {error.todo}")
    if state.result:
        typer.echo(json.dumps(state.result, indent=2))
    typer.echo(f"log: {job.log_path}")
    typer.echo(job.read_log().rstrip())


@jobs_app.command("stop")
def stop_job(job_id: JobId) -> None:
    """Stop a job; a training can be resumed, an extraction started again, and goes on there."""
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


def _to_dict(job: "Job") -> dict[str, Any]:
    return {
        **job.request.model_dump(mode="json"),
        "state": job.state.model_dump(mode="json"),
        "directory": str(job.directory),
    }
