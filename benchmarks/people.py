"""What each preset achieves for people no network was trained on, as a table.

    python -m benchmarks.people [--persons 6] [--preset NAME ...] [--seed 1] [--json]
        [--output people-benchmark] [--write README.md]

For each drawn person the demo's base is tuned with each preset and evaluated on held-out material;
in the drawn world the true swap is known. `centroid` instead of a preset trains nothing: it
compares the base driven by the person's centroid (after) with the base driven by the embedding of
one frame (before). Intervals are at 95 %; the bootstrap draws whole people, then blocks of their
frames. Results are kept in the output folder: after an interruption, the same command continues.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from benchmarks.people_results import (
    Result,
    Row,
    Settings,
    create_result,
    digest_text,
    pool,
    read_result,
    summarise,
    write_result,
)
from benchmarks.people_training import (
    CENTROID,
    Subject,
    choose_subjects,
    describe_world,
    tune_subject,
)
from facefusion_finetune import home
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.evaluation.figures import Figure
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.presets.preset import list_presets, load_preset
from facefusion_finetune.runs.observer import Observer

PRESETS = ("reconstruction", "balanced", CENTROID)
MARKER, MARK = "benchmark.json", {"benchmark": "people"}
"""Identifies the benchmark's own folders."""
BEGIN, END = "<!-- table: python -m benchmarks.people -->", "<!-- end of table -->"

Tune = Callable[[Subject, str, Observer], tuple[Report, float | None]]
"""Same signature as `tune_subject`."""


def measure(
    persons: int,
    seed: int,
    presets: list[str],
    output: Path,
    tune: Tune = tune_subject,
    say: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Tune and evaluate what is missing in the output folder, and summarise.

    Args:
        persons: Number of people.
        seed: Selects the people.
        presets: Names or paths of presets, or `CENTROID`.
        output: Folder for people, runs and results.
        tune: Tunes and evaluates one person's model.
        say: Called with progress messages.

    Returns:
        One row per preset.

    Raises:
        UsageError: A preset does not exist, a number is out of range, or the folder contains
            something else.
    """
    digests = {preset: digest_preset(preset) for preset in presets}
    output = output.expanduser().resolve()
    subjects = choose_subjects(persons, seed, output / "people")
    world = describe_world()
    open_output(output)
    results: dict[str, list[Result]] = {preset: [] for preset in presets}
    for number, subject in enumerate(subjects, 1):
        for preset, digest in digests.items():
            label = f"person {number} of {persons}, {preset}"
            settings = Settings(world=world, person=subject.seed, preset=digest)
            folder = output / "results" / f"person-{subject.seed}"
            path = folder / f"{Path(preset).stem}-{digest[:8]}" / "result.json"
            result = read_result(path, settings)
            if result is None:
                report, seconds = tune(subject, preset, _observe(label, say))
                result = create_result(settings, report, seconds)
                write_result(path, result)
            known = pool("true_swap", [result])
            say(f"{label}: L1 to the true swap {format_figure(known, 2)}")
            results[preset].append(result)
    return [summarise(preset, results[preset]) for preset in presets]


def digest_preset(preset: str) -> str:
    """SHA-256 of all settings of a preset, hexadecimal.

    Raises:
        UsageError: There is no such preset, or it is not valid.
    """
    if preset == CENTROID:
        return digest_text(CENTROID)
    if not preset.endswith(".toml") and preset not in list_presets():
        raise UsageError(
            f"--preset {preset}",
            "no such preset.",
            f"Use one of {', '.join(list_presets())}, {CENTROID}, or the path of a .toml file.",
        )
    return digest_text(load_preset(preset).model_dump_json())


def open_output(folder: Path) -> None:
    """Create the output folder, or check that it is one of this benchmark.

    Raises:
        UsageError: It contains something else, or cannot be created.
    """
    marker = folder / MARKER
    try:
        is_ours = json.loads(marker.read_text("utf-8")) == MARK
    except (OSError, ValueError):
        is_ours = False
    if is_ours:
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"--output {folder}",
            "it contains something other than this benchmark's results.",
            "Choose a new folder; nothing was changed.",
        )
    try:
        home.create_private_directory(folder)
        home.write_text(marker, json.dumps(MARK) + "\n")
    except OSError as error:
        raise UsageError(
            f"--output {folder}",
            f"it cannot be created ({error.strerror}).",
            "Choose another folder.",
        ) from error


def format_table(rows: list[Row]) -> str:
    """The rows as a Markdown table with aligned columns."""
    lines = [
        (
            *("preset", "people", "L1 to the true swap", "judge, cosine", "others' L1"),
            *("others towards the person", "seconds", "gate", "verdict"),
        )
    ]
    for row in rows:
        figures = row.figures
        lines.append(
            (
                row.preset,
                str(len(row.results)),
                format_figure(figures["true_swap"], 2),
                format_figure(figures["judge_targets"], 3),
                format_change(figures["others_l1"], 2),
                format_change(figures["others_towards_person"], 3),
                "-" if row.seconds is None else f"{row.seconds:.0f}",
                f"{row.passes} of {len(row.results)}",
                f"{row.verdict}: {row.reason}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def format_figure(figure: Figure, digits: int) -> str:
    """Before, after, and the change with its interval."""
    if figure.before is None or figure.after is None:
        return "-"
    scores = f"{figure.before:.{digits}f} to {figure.after:.{digits}f}"
    return f"{scores}, {format_change(figure, digits)}"


def format_change(figure: Figure, digits: int) -> str:
    """The change with its interval."""
    change = figure.change
    if figure.before is None:
        return "-"
    # Adding 0.0 turns -0.0 into 0.0.
    numbers = [
        f"{round(value, digits) + 0.0:+.{digits}f}"
        for value in (change.mean, change.low, change.high)
        if value is not None
    ]
    return numbers[0] + (f" [{', '.join(numbers[1:])}]" if len(numbers) > 1 else "")


def replace_table(text: str, table: str) -> str:
    """The text with the table between its markers.

    Raises:
        ValueError: The markers are missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"it lacks the lines {BEGIN} and {END} that enclose the table")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def main(arguments: list[str] | None = None, tune: Tune = tune_subject) -> None:
    """Print the table, or JSON; progress and errors go to stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.people", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--persons", type=int, default=6, help="number of people (6)")
    parser.add_argument(
        "--preset",
        action="append",
        help=f"name, .toml file or {CENTROID}; may be repeated ({', '.join(PRESETS)})",
    )
    parser.add_argument("--seed", type=int, default=1, help="selects the people (1)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("people-benchmark"),
        help="folder for people, runs and results (people-benchmark)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--write", type=Path, help="write the table between this file's markers")
    options = parser.parse_args(arguments)
    try:
        if options.write:
            _insert(options.write, None)
        presets = list(dict.fromkeys(options.preset or PRESETS))
        rows = measure(options.persons, options.seed, presets, options.output, tune, _say)
        if options.write:
            _insert(options.write, format_table(rows))
    except FinetuneError as error:
        _fail(f"{error.given}\n  why:  {error.why}\n  do:   {error.todo}", error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues from here", 130)
    if options.json:
        values = {
            "seed": options.seed,
            **describe_world().model_dump(mode="json"),
            "rows": [row.as_dict() for row in rows],
        }
        print(json.dumps(values, indent=2, sort_keys=True, allow_nan=False))
    else:
        print(format_table(rows))


def _observe(label: str, say: Callable[[str], None]) -> Observer:
    def tell_step(step: int, total: int, values: dict[str, float]) -> None:
        if step * 4 // total > (step - 1) * 4 // total:
            say(f"{label}: step {step} of {total}")

    return Observer(lambda text: say(f"{label}: {text}"), tell_step)


def _insert(path: Path, table: str | None) -> None:
    """Write a table into a file; None only checks that this is possible.

    Raises:
        UsageError: The file cannot be read, or lacks the markers.
    """
    try:
        text = path.read_text("utf-8")
        replaced = replace_table(text, table or "")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"--write {path}", f"{why}.", "Give a Markdown file that contains both lines."
        ) from error
    if table is not None:
        home.write_text(path, replaced, 0o644)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> NoReturn:
    _say(text)
    sys.exit(code)


if __name__ == "__main__":
    main()
