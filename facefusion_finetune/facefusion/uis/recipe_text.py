"""Texts about bases and presets on the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis.page import translate
from facefusion_finetune.host import adapter
from facefusion_finetune.jobs.times import find_time
from facefusion_finetune.presets.measured import Gain, load_gain
from facefusion_finetune.presets.preset import Preset, list_presets, load_preset
from facefusion_finetune.runs.base import allows_commercial_use
from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.swappers.catalogue import FAMILIES, create_options

DEFAULT_BASE = "inswapper_128"


def label_bases() -> list[tuple[str, str]]:
    """Label, with the licence, and name of each tunable swapper; downloaded ones first."""
    entries = {
        name: entry
        for name, entry in adapter.get_face_swapper_set().items()
        if entry["type"] in FAMILIES
    }
    names = sorted(entries, key=lambda name: (not _is_downloaded(entries[name]), name))
    return [(_label(name, entries[name]), name) for name in names]


def require_offered(base: str, preset: str) -> None:
    """Check that a base and a preset are on the lists: both could be paths of any file.

    Raises:
        UsageError: One is not.
    """
    if base not in adapter.get_face_swapper_set() or preset not in list_presets():
        raise UsageError(
            translate("model.not_offered_given", base=base, preset=preset),
            translate("model.not_offered_why"),
            translate("model.not_offered_todo"),
        )


def describe_base(name: str) -> str:
    """Vendor and licence of a base, and whether it is downloaded."""
    entry = adapter.get_face_swapper_set().get(name)
    if entry is None:
        return translate("model.base_unknown", name=name)
    options = create_options(name, entry)
    sentences = [
        translate(
            "model.base",
            vendor=options.vendor,
            licence=options.licence,
            width=options.size[0],
            height=options.size[1],
        ),
        translate(
            "model.commercial" if allows_commercial_use(options.licence) else "model.not_commercial"
        ),
    ]
    if not _is_downloaded(entry):
        sentences.append(translate("model.download"))
    return "\n".join(sentences)


def describe_preset(base: str, name: str) -> str:
    """A preset's description, its time on this machine, and its measured gain.

    Raises:
        UsageError: There is no such preset in the package.
    """
    require_offered(base, name)
    preset = load_preset(name)
    gain = load_gain(name)
    sentences = [
        preset.description,
        translate("model.crops", count=preset.minimum_crops),
        _describe_time(base, name),
        _describe_gain(gain) if gain else translate("model.gain_unknown"),
    ]
    if preset.gated and _is_driven_by_picture(base):
        sentences.append(_explain_gated(preset))
    return "\n".join(sentences)


def _describe_time(base: str, preset: str) -> str:
    time = find_time(base, preset)
    if time is None:
        return translate("model.time_unknown")
    notation = "model.time_estimate" if time.is_estimate else "model.time_measured"
    return translate(notation, time=format_seconds(time.seconds), day=f"{time.when:%Y-%m-%d}")


def _describe_gain(gain: Gain) -> str:
    return translate(
        "model.gain",
        people=gain.people,
        judge=f"{gain.judge.change:+.2f}",
        judge_low=f"{gain.judge.low:+.2f}",
        judge_high=f"{gain.judge.high:+.2f}",
        share=f"{-gain.distance.change / gain.distance.before:.0%}",
        passed=gain.passed,
    )


def _explain_gated(preset: Preset) -> str:
    return translate("model.gated", layers=preset.layers)


def _is_driven_by_picture(base: str) -> bool:
    entry = adapter.get_face_swapper_set().get(base)
    return entry is not None and FAMILIES[entry["type"]].picture is not None


def _label(name: str, entry: Mapping[str, Any]) -> str:
    licence = create_options(name, entry).licence
    notation = "model.base_choice" if _is_downloaded(entry) else "model.base_choice_download"
    return translate(notation, name=name, licence=licence)


def _is_downloaded(entry: Mapping[str, Any]) -> bool:
    return all(Path(source["path"]).is_file() for source in entry["sources"].values())
