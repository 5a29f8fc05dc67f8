"""What a user can set is written down, and what is written down exists."""

import inspect
import re
from pathlib import Path

import typer

from facefusion_finetune import api
from facefusion_finetune.cli.app import app
from facefusion_finetune.presets.preset import (
    LossWeights,
    PairMix,
    Preset,
    VectorStage,
    list_presets,
)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def _commands(group: typer.core.TyperGroup, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found += _commands(command, f"{prefix}{name} ") if inner else [prefix + name]  # type: ignore[arg-type]
    return found


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(app)
    missing = [name for name in _commands(group) if f"facefusion-finetune {name}" not in README]  # type: ignore[arg-type]
    assert not missing


def test_every_preset_and_key_is_documented() -> None:
    text = (ROOT / "docs" / "presets.md").read_text("utf-8")
    keys = [key for key in Preset.model_fields if key not in {"pairs", "losses"}]
    keys += [f"pairs.{key}" for key in PairMix.model_fields]
    keys += [f"losses.{key}" for key in LossWeights.model_fields]
    for name in [*keys, *list_presets()]:
        assert f"| `{name}`" in text, name
    documented = re.findall(r"^\| `([a-z_.0-9]+)`", text, re.MULTILINE)
    assert sorted(documented) == sorted([*keys, *list_presets()])
    (stage,) = re.findall(r"^\| `vector` .*", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", stage)) == {"vector", *VectorStage.model_fields}


def test_files_the_readme_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_public_function_is_documented_and_every_documented_one_is_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(api.__all__)
    for name in api.__all__:
        member = getattr(api, name)
        assert inspect.getdoc(member), name
        if inspect.isfunction(member):
            hints = inspect.signature(member)
            assert hints.return_annotation is not inspect.Signature.empty, name
            kinds = [hint.annotation for hint in hints.parameters.values()]
            assert inspect.Parameter.empty not in kinds, name
