"""`facefusion-finetune inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facefusion_finetune.cli.shared import Json, create_console
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.inspection.words import (
    clean,
    describe_inputs,
    describe_output,
    format_count,
    name_layers,
    shorten,
)

if TYPE_CHECKING:
    from facefusion_finetune.inspection.inspect import Inspection

COLOURS = {"tail": "green", "decoder": "green", "candidate": "cyan", "frozen": ""}
OTHER_COLUMNS = 59
"""Width of the table of blocks in characters, without its column of names."""


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A face swapper.")],
    graph: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Also draw the blocks to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which layers of a swapper can be trained, why others cannot, and the cost."""
    from facefusion_finetune.inspection.inspect import inspect_file
    from facefusion_finetune.presets.preset import list_presets, load_preset

    _check_paths(model, graph)
    presets = {name: load_preset(name).layers for name in list_presets()}
    inspection = inspect_file(model, presets)
    if graph is not None:
        _draw(inspection, graph)
    if as_json:
        typer.echo(json.dumps(inspection.to_dict(), indent=2))
        return
    _print(inspection)
    if graph is not None:
        typer.echo(f"drawn: {graph}")


def _check_paths(model: Path, graph: Path | None) -> None:
    if not model.suffix and not model.exists():
        raise UsageError(
            str(model),
            "no such file; models are inspected by their path.",
            "FaceFusion's models are in its own folder, for example"
            f" facefusion/.assets/models/{model.name}.onnx.",
        )
    if graph is not None and graph.suffix.lower() != ".svg":
        raise UsageError(
            f"--graph {graph}",
            "the drawing is an SVG file.",
            "Use for example --graph swapper.svg.",
        )


def _draw(inspection: "Inspection", path: Path) -> None:
    from facefusion_finetune import home
    from facefusion_finetune.inspection.drawing import draw_swapper

    try:
        home.write_text(path, draw_swapper(inspection), 0o644)
    except OSError as error:
        raise FinetuneError(
            f"--graph {path}",
            f"it cannot be written ({error.strerror or error}).",
            "Choose a file in an existing, writable folder.",
        ) from error


def _print(inspection: "Inspection") -> None:
    console = create_console()
    with console.capture() as capture:
        _print_head(inspection, console)
        console.print(_list_blocks(inspection, console.width))
        console.print(_list_choices(inspection))
        console.print(_list_reasons(inspection))
        for note in inspection.notes:
            console.print(Text(f"Note: {clean(note)}"))
    # Names may have characters that the terminal or pipe cannot encode.
    text = capture.get().encode(console.encoding, "replace").decode(console.encoding)
    typer.echo(text, nl=False)


def _print_head(inspection: "Inspection", console: Console) -> None:
    graph, whole = inspection.graph, inspection.everything
    width, height = graph.size
    shape = graph.source_shape
    weights = f" + {inspection.external_bytes / 1e6:.1f} MB external data"
    lines = {
        "file": f"{shorten(graph.path.name, 60)}, {graph.file.size / 1e6:.1f} MB"
        f"{weights if inspection.external_bytes else ''}",
        **_describe_promise(inspection),
        "sha256": f"{inspection.sha256[:16]}...",
        "format": f"opset {graph.trace.opset}, {graph.precision},"
        f" {'with' if graph.emap is not None else 'without'} emap",
        "crop": f"{width} x {height}",
        "source": f"picture {shape[2]} x {shape[1]}" if len(shape) == 3 else f"vector {shape[0]}",
        "injections": f"{len(graph.partition.injections)}",
        "layers": f"{len(graph.partition.layers)}, of which {len(whole.layers)} are trainable",
        "parameters": f"{format_count(inspection.parameters)}, of which"
        f" {format_count(whole.cost.parameters)} are trainable",
        "forward pass": f"{format_count(whole.cost.macs)} multiplications",
    }
    table = Table.grid(padding=(0, 2))
    for key, value in lines.items():
        table.add_row(key, Text(value))
    console.print(table)


def _describe_promise(inspection: "Inspection") -> dict[str, str]:
    """The line that compares the file with the swapper that its name promises."""
    promise = inspection.promise
    if promise is None:
        return {}
    differences = "; ".join(map(clean, promise.differences))
    return {
        "by its name": f"{promise.swapper}, but it differs: {differences}"
        if differences
        else f"{promise.swapper}, from which it does not differ"
    }


def _list_blocks(inspection: "Inspection", width: int) -> Table:
    room = max(20, width - OTHER_COLUMNS)
    table = _create_table("Blocks, in running order")
    table.add_column("#", justify="right", no_wrap=True, min_width=2)
    table.add_column("role\nfirst .. last layer", no_wrap=True)
    table.add_column("layers", justify="right", no_wrap=True)
    table.add_column("output\nh x w x c", justify="right", no_wrap=True)
    table.add_column("param.\nmult.", justify="right", no_wrap=True)
    table.add_column("input\ninjected", justify="right", no_wrap=True)
    table.add_column("trained by")
    named = name_layers(inspection.blocks, room, 2)
    for block in inspection.blocks:
        choices = ", ".join(inspection.name_choices_for(block)) or "never"
        entering = f"{block.injections} x"
        names = "\n".join(named[block.number])
        table.add_row(
            str(block.number),
            Text.assemble((block.role, "bold"), "\n", (names, "dim")),
            str(len(block.layers)),
            "\n".join(describe_output(block)),
            f"{format_count(block.parameters)}\n{format_count(block.macs)}",
            f"{describe_inputs(block)}\n{entering if block.injections else ''}",
            Text(choices, style=COLOURS[block.state]),
        )
    table.caption = "injected: how many times the identity is injected in this block."
    return table


def _list_choices(inspection: "Inspection") -> Table:
    table = _create_table("Choices of trainable layers")
    table.add_column("choice", min_width=9)
    for heading in ("layers", "param.", "run per\nstep", "MiB fp32", "MiB fp16"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("presets", overflow="fold")
    for same in inspection.distinct:
        cost = same[0].cost
        presets = [name for choice in same for name in inspection.list_presets_of(choice)]
        table.add_row(
            ", ".join(choice.name for choice in same),
            str(len(same[0].layers)),
            format_count(cost.parameters),
            f"{same[0].live_share:.1%}",
            f"{cost.cut_bytes / 2**20:.2f}",
            f"{cost.cut_bytes / 2**21:.2f}",
            ", ".join(presets) or "-",
        )
    table.caption = "MiB: cache size per sample, so that only the rest has to run at each step."
    return table


def _list_reasons(inspection: "Inspection") -> Table:
    table = _create_table("Layers that are never trained")
    table.add_column("reason")
    table.add_column("layers", justify="right", no_wrap=True)
    table.add_column("param.", justify="right", no_wrap=True)
    for reason in inspection.reasons:
        table.add_row(Text(reason.text), str(reason.layers), format_count(reason.parameters))
    return table


def _create_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        caption_style="dim",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
