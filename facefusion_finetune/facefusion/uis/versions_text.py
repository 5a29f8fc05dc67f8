"""Texts about versions and their reports on the page, as labels and as HTML."""

import html
from collections.abc import Container, Sequence
from pathlib import Path

from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.page import describe_figure, sort_figures
from facefusion_finetune.evaluation.report import Report, read_report
from facefusion_finetune.facefusion.uis.embed import bullets, embed_picture, link, paragraph
from facefusion_finetune.facefusion.uis.page import name_on_page, translate
from facefusion_finetune.registry.versions import ListedVersion
from facefusion_finetune.runs.run import ImportRecord, Run

PICTURES = ("held_out", "targets")
"""Pictures of a report, by file stem."""

CELL = (
    "padding:0.25rem 0.5rem 0.25rem 0;text-align:left;vertical-align:top;border:0;"
    "border-bottom:1px solid rgba(128,128,128,0.35)"
)


def label_versions(versions: Sequence[ListedVersion]) -> list[tuple[str, str]]:
    """Label and reference of each version, the newest of every person first."""
    newest_first = sorted(versions, key=lambda version: (version.person.name, -version.number))
    return [(_label(version), version.reference) for version in newest_first]


def list_states(version: ListedVersion) -> list[str]:
    """States of a version: proven or not, active, imported."""
    return [
        translate("models.proven" if version.is_proven else "models.unproven"),
        *([translate("models.active")] if version.is_active else []),
        *([translate("models.imported")] if version.run.is_imported else []),
    ]


def draw_models(versions: Sequence[ListedVersion], problems: Sequence[str]) -> str:
    """HTML of the table of all versions, and of the errors of damaged ones."""
    columns = ("model", "base", "preset", "verdict", "state", "created")
    rows = [
        [
            version.reference,
            version.run.record.base_name,
            version.run.record.preset_name,
            version.verdict,
            ", ".join(list_states(version)) if version.card else "",
            f"{version.run.record.created:%Y-%m-%d}",
        ]
        for version in versions
    ]
    header = [translate(f"models.{column}") for column in columns]
    table = draw_table(header, rows, wrapped=(0, 2, 3, 4))
    return (table if rows else paragraph(translate("models.none"))) + bullets(list(problems))


def draw_proof(version: ListedVersion) -> str:
    """HTML of a version's report, or why there is none."""
    states = " · ".join(list_states(version)).upper()
    head = f"<p><strong>{html.escape(version.reference)}</strong> · {html.escape(states)}</p>"
    record = version.run.record
    if isinstance(record, ImportRecord):
        return head + paragraph(
            translate(
                "proof.imported",
                day=f"{record.imported_at:%Y-%m-%d}",
                origin=record.origin,
                verdict=version.verdict,
            )
        )
    try:
        report = read_report(version.run)
    except EvaluationError as error:
        return head + paragraph(str(error))
    if report is None:
        return head + paragraph(translate("proof.no_report", reference=version.reference))
    return head + _draw_report(report) + _describe_place(version.run)


def draw_pictures(run: Run) -> str:
    """HTML of a report's existing pictures."""
    parts = []
    for name in PICTURES:
        text = translate(f"proof.{name}_picture")
        picture = embed_picture(run.previews_directory / f"{name}.png", text)
        parts.append(picture and paragraph(text) + picture)
    return "".join(parts)


def draw_links(paths: Sequence[Path]) -> str:
    """HTML of a list of files to download, which must be in served folders; empty if none."""
    if not paths:
        return ""
    entries = "".join(
        "<li><a style='color:inherit;text-decoration:underline'"
        f" href='{link(path)}'"
        f" download='{html.escape(path.name, quote=True)}'>{html.escape(path.name)}</a>"
        f" ({path.stat().st_size / 1e6:.1f} MB)</li>"
        for path in paths
    )
    head = paragraph(translate("export.exports"))
    return f"{head}<ul style='padding-left:1.25rem;list-style:disc'>{entries}</ul>"


def draw_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], wrapped: Container[int] = (0,)
) -> str:
    """HTML of a full-width table.

    Args:
        header: Titles of the columns.
        rows: Texts of the cells.
        wrapped: Indices of columns with line wrapping.
    """
    lines = "".join(_draw_row("td", row, wrapped) for row in rows)
    return (
        "<div style='overflow-x:auto'>"
        "<table style='width:100%;border:0;font-size:var(--text-sm)'>"
        f"<thead>{_draw_row('th', header, wrapped)}</thead><tbody>{lines}</tbody></table></div>"
    )


def _draw_row(tag: str, texts: Sequence[str], wrapped: Container[int]) -> str:
    scope = " scope='col'" if tag == "th" else ""
    cells = (
        f"<{tag}{scope} style='{CELL}{'' if number in wrapped else ';white-space:nowrap'}'>"
        f"{html.escape(text)}</{tag}>"
        for number, text in enumerate(texts)
    )
    return f"<tr style='border:0'>{''.join(cells)}</tr>"


def _label(version: ListedVersion) -> str:
    states = list_states(version) if version.card else [version.verdict]
    return f"{version.reference} ({', '.join([version.run.record.base_name, *states])})"


def _draw_report(report: Report) -> str:
    parts = [f"<p><strong>{html.escape(report.sentence)}</strong></p>"]
    for key, texts in (("reasons", report.reasons), ("notes", report.notes)):
        if texts:
            parts.append(_head(f"proof.{key}") + bullets([name_on_page(text) for text in texts]))
    checked = {check.name for check in report.checks}
    figures = {key: figure for key, figure in report.figures.items() if key in checked}
    columns = ("figure", "before", "after", "interval")
    rows = []
    for figure in sort_figures(figures):
        row = describe_figure(figure)
        title = f"{row.title} ({row.unit}; {row.direction})"
        rows.append([title, row.before, row.after, f"{row.interval} {row.symbol}"])
    if rows:
        table = draw_table([translate(f"proof.{column}") for column in columns], rows)
        parts.append(_head("proof.figures") + table)
    return "".join(parts)


def _describe_place(run: Run) -> str:
    if not run.report_path.is_file():
        return ""
    return paragraph(translate("proof.report", path=run.report_path))


def _head(notation: str) -> str:
    return f"<p style='margin-top:0.5rem'>{html.escape(translate(notation))}</p>"
