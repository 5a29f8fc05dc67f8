"""`facefusion-finetune models ...`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facefusion_finetune.cli.shared import HostOption, Json, describe, load_reference, print_lines
from facefusion_finetune.errors import HostError, RegistryError

if TYPE_CHECKING:
    from facefusion_finetune.people.profile import Person
    from facefusion_finetune.runs.run import Run

models_app = typer.Typer(help="Versions of a person's model.", no_args_is_help=True)


class Precision(StrEnum):
    """Of a file's weights."""

    FP32 = "fp32"
    FP16 = "fp16"


Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]")]


@models_app.command("list")
def list_models(as_json: Json = False, host: HostOption = None) -> None:
    """List all versions of all persons."""
    from facefusion_finetune.people import profile
    from facefusion_finetune.registry import store
    from facefusion_finetune.runs.run import list_runs

    folder = _find_host(host)
    rows: list[dict[str, Any]] = []
    for name in profile.list_names():
        person = profile.load_person(name)
        for version in store.list_versions(person, list_runs(person), folder):
            judged = version.card.judge_result if version.card else {}
            rows.append(
                {
                    "model": version.run.reference,
                    "base": version.run.record.base_name,
                    "preset": version.run.record.preset_name,
                    "imported": version.run.is_imported,
                    "finished": version.card is not None,
                    "verdict": judged.get("verdict"),
                    "proven": judged.get("proven", False),
                    "active": version.active,
                }
            )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_lines(
        (
            f"{row['model']:24} {row['base']:20} {row['preset']:16}"
            f" {row['verdict'] or 'not finished':14} {'proven' if row['proven'] else 'unproven':9}"
            f" {'imported ' if row['imported'] else ''}{'active' if row['active'] else ''}"
            for row in rows
        ),
        "There is no model yet.",
    )


@models_app.command("show")
def show_model(model: Reference, as_json: Json = False, host: HostOption = None) -> None:
    """Show a model's card."""
    from dataclasses import asdict

    from facefusion_finetune.registry import store
    from facefusion_finetune.runs.run import find_run

    person, number = load_reference(model)
    run = find_run(person, number)
    version = store.list_versions(person, [run], _find_host(host))[0]
    store.require_finished(run)
    assert version.card is not None
    values = asdict(version.card)
    for key in ("person_vector", "person_source", "person_picture"):
        del values[key]
    values |= {"active": version.active, "file": str(run.model_path)}
    typer.echo(json.dumps(values, indent=2) if as_json else describe(values))


@models_app.command("activate")
def activate(
    model: Reference,
    force: Annotated[
        bool, typer.Option("--force", help="Although it is unproven; the card says so.")
    ] = False,
    host: HostOption = None,
) -> None:
    """Let FaceFusion use this version (of NAME alone: the last finished one)."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.registry import store

    person, run = _find_finished(model)
    path = store.activate(person, run, locate(host).path, force)
    label = "" if store.read_card(run.model_path).judge_result.get("proven") else " (unproven)"
    typer.echo(f"{run.reference} is active{label}: {path}")
    typer.echo(
        "Use it: facefusion headless-run --processors finetuned_swapper"
        f" --finetuned-swapper-model {person.name} -t TARGET -o OUTPUT"
    )


@models_app.command("deactivate")
def deactivate(model: Reference, host: HostOption = None) -> None:
    """Take a person's models (or one version) out of FaceFusion; the runs stay."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.registry import store

    person, number = load_reference(model)
    removed = store.deactivate(person, locate(host).path, number)
    print_lines((f"removed {path}" for path in removed), f"No model of {model} is active.")


@models_app.command("verify")
def verify(model: Reference, host: HostOption = None) -> None:
    """Check the active model of a person: checksum, card, base, structure."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.host.models import find_active, models_directory
    from facefusion_finetune.registry import store

    person, number = load_reference(model)
    directory = models_directory(locate(host).path)
    active = find_active(directory).get(person.name, {})
    paths = [path for version, path in active.items() if number in (None, version)]
    if not paths:
        raise RegistryError(
            f"model {model}",
            f"it is not active in {directory}.",
            f"Activate it: facefusion-finetune models activate {model}.",
        )
    for path in paths:
        card = store.verify(path)
        typer.echo(f"{path.name}: whole, {card.base_name} tuned to {card.person}")


@models_app.command("remove")
def remove(
    model: Annotated[str, typer.Argument(metavar="NAME@VERSION")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    host: HostOption = None,
) -> None:
    """Delete one version: its run, and its model in FaceFusion."""
    from facefusion_finetune.registry.versions import remove_version
    from facefusion_finetune.runs.run import find_run

    person, number = load_reference(model)
    if number is None:
        raise typer.BadParameter("name one version, for example NAME@2")
    run = find_run(person, number)
    if not yes and not typer.confirm(f"Delete {run.reference} with its checkpoints and report?"):
        raise typer.Abort
    removed = remove_version(person, run, _find_host(host))
    print_lines((f"removed {path}" for path in removed), "")


@models_app.command("export")
def export(
    model: Reference,
    output: Annotated[Path, typer.Option(help="The file to write.")],
    standalone: Annotated[
        bool, typer.Option("--standalone", help="With all weights in it; needs no base beside it.")
    ] = False,
    precision: Annotated[
        Precision, typer.Option(help="fp16 halves the weights; the file is standalone then.")
    ] = Precision.FP32,
    strength: Annotated[
        float, typer.Option(help="Share of a gated change, 0 to 1; below 1 it is unproven.")
    ] = 1.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
) -> None:
    """Write a model to a file for another machine (of NAME alone: the last finished one)."""
    from facefusion_finetune.registry import transfer

    person, run = _find_finished(model)
    half = precision is Precision.FP16
    made = transfer.export_model(person, run, output, standalone, half, overwrite, strength)
    typer.echo(f"{run.reference}: {made.path} ({made.size / 1e6:.1f} MB)")
    if made.base is not None:
        typer.echo(
            f"It holds the tuned weights alone. The other machine needs {made.base}; without it,"
            " export with --standalone."
        )


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `models export`.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who it is here; else as it says.")
    ] = None,
    host: HostOption = None,
) -> None:
    """Take in a model from another machine, as the person's next version."""
    from facefusion_finetune.host.models import models_directory
    from facefusion_finetune.registry import transfer

    folder = _find_host(host)
    active = models_directory(folder) if folder else None
    made = transfer.import_model(file, name, [active.parent, active] if active else [])
    run = made.run
    typer.echo(f"{run.reference}: imported from {file} (there {made.origin}), unproven here.")
    typer.echo(made.note or f"It is linked to {run.record.base_name}, which is on this machine.")
    typer.echo(f"Use it: facefusion-finetune models activate {run.reference} --force")


def _find_finished(model: str) -> "tuple[Person, Run]":
    """The run of that version, or the person's last finished one."""
    from facefusion_finetune.runs.run import find_run, list_runs

    person, number = load_reference(model)
    finished = [run.record.version for run in list_runs(person) if run.is_finished]
    return person, find_run(person, number or max(finished, default=None))


def _find_host(host: Path | None) -> Path | None:
    """The host's folder where there is one; a list is of use without it."""
    from facefusion_finetune.host.locate import locate

    try:
        return locate(host).path
    except HostError:
        if host is not None:
            raise
        return None
