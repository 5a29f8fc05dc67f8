"""The folders tell the data's way: a folder imports only what stands above it in the table."""

from pathlib import Path

import pytest

import facefusion_finetune
from tests.support.imports import (
    FOLDERS,
    find_circles,
    find_strangers,
    find_upward,
    list_folders,
    read_arrows,
)

PACKAGE = "facefusion_finetune"
ROOT = Path(facefusion_finetune.__file__).parent


def test_no_folder_imports_what_stands_below_it() -> None:
    assert find_upward(read_arrows(ROOT), PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert find_circles(read_arrows(ROOT)) == []


def test_what_comes_from_elsewhere_stays_where_it_belongs() -> None:
    assert find_strangers(read_arrows(ROOT), PACKAGE) == []


def test_the_table_names_every_folder() -> None:
    assert {name for row in FOLDERS for name in row} == list_folders(ROOT)


PLANTED = {
    "evaluation learns of training": (
        "evaluation/gate.py",
        "from facefusion_finetune.training.recipe import train_person",
    ),
    "inside a function": (
        "people/profile.py",
        "def load():\n    from facefusion_finetune.registry import store",
    ),
    "for a type checker": (
        "swappers/card.py",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
        "    import facefusion_finetune.faces.protocol",
    ),
    "a door by the other one": (
        "cli/train.py",
        "from facefusion_finetune.facefusion.uis import page",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_the_other_way_is_found(name: str, tmp_path: Path) -> None:
    place, text = PLANTED[name]
    root = tmp_path / PACKAGE
    for path in ROOT.rglob("*.py"):
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert find_upward(read_arrows(root), PACKAGE) == []
    with (root / place).open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    module = f"{PACKAGE}.{place.removesuffix('.py').replace('/', '.')}"
    (found,) = find_upward(read_arrows(root), PACKAGE)
    assert found[0] == module


def test_a_planted_circle_and_a_planted_stranger_are_found(tmp_path: Path) -> None:
    root = tmp_path / PACKAGE
    (root / "runs").mkdir(parents=True)
    for name in ("", "runs/"):
        (root / f"{name}__init__.py").touch()
    (root / "runs" / "one.py").write_text(f"from {PACKAGE}.runs import two\nimport onnx2torch\n")
    (root / "runs" / "two.py").write_text(f"from {PACKAGE}.runs.one import anything\n")
    arrows = read_arrows(root)
    assert find_circles(arrows) == [[f"{PACKAGE}.runs.one", f"{PACKAGE}.runs.two"]]
    assert find_strangers(arrows, PACKAGE) == [(f"{PACKAGE}.runs.one", "onnx2torch")]
