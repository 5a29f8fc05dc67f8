"""Finished versions with reports for the tab's last sections, and what its callbacks answer."""

from pathlib import Path
from typing import Any

from facefusion_finetune.evaluation.pictures import save_picture
from facefusion_finetune.evaluation.report import encode_report
from facefusion_finetune.host.models import find_active, models_directory
from facefusion_finetune.runs.run import Run
from tests.support.reports import build_pictures, build_report

SKIPPED = {"__type__": "update"}
"""The answer of a callback that changes nothing."""


def write_report(run: Run, verdict: str = "better", **changes: Any) -> None:
    """The files of a report of that verdict, with invented figures."""
    run.report_json_path.write_text(encode_report(build_report(verdict, **changes)))
    run.report_path.write_text("the report")
    for picture in build_pictures():
        save_picture(run.directory / "previews" / picture.name, picture.pixels)


def list_active(host: Path) -> list[int]:
    """Ada's versions that the host uses."""
    return list(find_active(models_directory(host)).get("ada", {}))


def get(changes: dict[Any, Any], component: Any, key: str = "value") -> Any:
    """One property that a callback's answer gives a component."""
    change = changes[component]
    return change.constructor_args.get(key) if hasattr(change, "constructor_args") else change
