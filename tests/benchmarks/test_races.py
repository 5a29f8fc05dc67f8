"""The benchmark of races: the same rounds for a seed, and checks that find what is planted."""

import base64
import random
from pathlib import Path

import numpy
import pytest

from benchmarks.races.checks import find_remains
from benchmarks.races.commands import AFTER_ADD, draw_commands
from benchmarks.races.material import Material, Places

VECTOR = numpy.arange(512, dtype="<f4").tobytes()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The folders of a round, in which nobody is left."""
    places = Places(tmp_path / "round")
    for folder in (places.home / "locks", places.host, places.out):
        folder.mkdir(parents=True)
    (places.home / "queue.lock").touch()
    (places.host / "canada.txt").write_text("adam and canada")
    return places


def _find(places: Places, is_new: bool = False) -> list[str]:
    nothing = places.root
    marks = (base64.b64encode(VECTOR), VECTOR)
    material = Material(places, nothing, nothing, nothing, nothing, (), marks)
    return list(find_remains(material, places, is_new))


def test_a_seed_draws_the_same_rounds() -> None:
    drawn = [draw_commands(random.Random(f"0 {number}")) for number in range(400)]
    assert drawn == [draw_commands(random.Random(f"0 {number}")) for number in range(400)]
    assert {len(names) for names in drawn} == {2, 3}
    assert 160 < sum("remove" in names for names in drawn) < 240
    for names in drawn:
        if "add" in names:
            assert set(names) - {"remove", "add"} <= set(AFTER_ADD)


@pytest.mark.parametrize(
    ("path", "content", "found"),
    [
        ("host/ada-1.json", b"{}", "host/ada-1.json"),
        ("home/people/ada/runs/1/metrics.jsonl", b"{}", "home/people/ada"),
        ("home/people/eve/note.txt", b"see ada@1", "eve/note.txt has the name"),
        ("home/people/eve/x.bin", b"\0" + VECTOR, "x.bin has data of the person"),
        ("out/sent.onnx", base64.b64encode(VECTOR), "sent.onnx has data of the person"),
        ("home/bases/demo-0.base", b"weights", "the base demo-0.base"),
    ],
)
def test_planted_remains_are_found(places: Places, path: str, content: bytes, found: str) -> None:
    assert _find(places) == []
    file = places.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    assert any(found in line for line in _find(places))


def test_of_a_person_added_since_only_the_record_may_be_there(places: Places) -> None:
    places.person.mkdir(parents=True)
    (places.person / "person.toml").write_text('name = "ada"')
    (places.home / "locks" / "ada.lock").touch()
    assert _find(places, is_new=True) == []
    assert _find(places)
    (places.person / "choices.json").write_text("{}")
    assert _find(places, is_new=True) == ["remains: home/people/ada/choices.json"]
