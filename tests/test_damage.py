"""Damage of one person's files stops nothing: everybody else is listed whole, the damaged as such.

All files of a person, and of the person's models in a FaceFusion folder, are damaged one after the
other, and all at once.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune import home
from facefusion_finetune.damage import (
    MAX_BYTES,
    MAX_REASON,
    DamageError,
    parse_json,
    parse_toml,
    read_file,
    read_lines,
)
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.runs.run import load_run, next_version
from tests.support.damage import KINDS, UNSEEN, can_be_damaged, damaged
from tests.support.damaged_home import DAMAGED, OTHER, RECORD, RUNS, Arguments, Command, World

LISTINGS: tuple[Arguments, ...] = (
    ("models", "list"),
    ("models", "show", f"{OTHER}@1"),
    ("person", "list"),
    ("person", "show", DAMAGED),
    ("person", "show", OTHER),
    ("jobs", "list"),
)

TOLD: dict[Arguments, tuple[str, ...]] = {
    ("models", "list"): (
        *(RECORD, f"{RUNS}/config.toml", f"{RUNS}/model.onnx"),
        *(f".assets/models/finetuned/{DAMAGED}-1.{suffix}" for suffix in ("onnx", "hash", "json")),
    ),
    ("person", "list"): (RECORD,),
    ("person", "show", DAMAGED): (
        *(RECORD, f"{RUNS}/config.toml", f"{RUNS}/model.onnx"),
        *(f"people/{DAMAGED}/{name}" for name in ("crops.jsonl", "hosts.json", "elsewhere.json")),
    ),
    ("jobs", "list"): tuple(
        f"people/{DAMAGED}/jobs/*/{name}" for name in ("job.json", "state.json")
    ),
}
"""By listing: the files whose damage it names."""
TRIED_ALONE = frozenset(
    {
        *("empty", "half", "random", "another type", "no UTF-8", "6,000 digits", "100,000 deep"),
        *("folder", "removed", "removed meanwhile"),
    }
)
"""Kinds of which each file is damaged alone for every listing; others for those that name it."""


@pytest.fixture
def whole(command: Command) -> dict[tuple[Arguments, bool], Any]:
    """What every listing, as text and as JSON, says of the other person before any damage."""
    found = {}
    for arguments in LISTINGS:
        for as_json in (False, True):
            out = _list(command, arguments, as_json)
            assert "damaged" not in out.replace('"damaged": null', ""), out
            found[arguments, as_json] = _keep_other(arguments, out, as_json)
            assert found[arguments, as_json] or DAMAGED in arguments
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_else_is_listed_whole(
    kind: str,
    damaged_world: World,
    command: Command,
    whole: dict[tuple[Arguments, bool], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, path in enumerate(damaged_world.list_files(kind)):
        name = damaged_world.name(path)
        for arguments in LISTINGS:
            is_told = any(fnmatch(name, pattern) for pattern in TOLD.get(arguments, ()))
            if "show" in arguments and DAMAGED not in arguments:
                continue  # takes long, and comes where all is damaged at once
            if kind not in TRIED_ALONE and not is_told:
                continue  # likewise
            as_json = bool(number % 2)
            with damaged(path, kind, damaged_world.spare), monkeypatch.context() as patch:
                if kind == "removed meanwhile":
                    _remove_once_seen(path, patch)
                out = _list(command, arguments, as_json)
            kept = _keep_other(arguments, out, as_json)
            assert kept == whole[arguments, as_json], (name, arguments, out)
            if is_told and "removed" not in kind and (kind, path.name) not in UNSEEN:
                said = _find_damage(arguments, out, as_json)
                (why,) = [text for text in said if str(path) in text]
                assert "\n" not in why
                assert len(why) < len(str(path)) + MAX_REASON + 150


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_everybody_else_is_listed_whole_where_nothing_of_one_person_is(
    kind: str, damaged_world: World, command: Command, whole: dict[tuple[Arguments, bool], Any]
) -> None:
    with contextlib.ExitStack() as stack:
        for path in damaged_world.list_files(kind):
            stack.enter_context(damaged(path, kind, damaged_world.spare))
        for (arguments, as_json), kept in whole.items():
            out = _list(command, arguments, as_json)
            assert _keep_other(arguments, out, as_json) == kept, (arguments, out)


AIMED: dict[Arguments, str] = {
    ("models", "show", f"{DAMAGED}@1"): f"people/{DAMAGED}/runs/1/model.onnx",
    ("models", "show", f"{DAMAGED}@3"): f"people/{DAMAGED}/runs/3/config.toml",
    ("models", "show", f"{DAMAGED}@2"): RECORD,
    ("models", "verify", DAMAGED): f".assets/models/finetuned/{DAMAGED}-1.json",
    ("models", "activate", f"{DAMAGED}@2", "--force"): f"people/{DAMAGED}/hosts.json",
    ("dataset", "show", DAMAGED): f"people/{DAMAGED}/crops.jsonl",
    ("dataset", "reject", DAMAGED, "0000"): f"people/{DAMAGED}/crops.jsonl",
    ("jobs", "show", "ID"): f"people/{DAMAGED}/jobs/ID/job.json",
}
"""By command: the file without which it cannot do its work."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "removed" not in kind])
def test_what_is_aimed_at_damage_fails_in_words(
    kind: str, damaged_world: World, command: Command
) -> None:
    job = min(path.name for path in (damaged_world.person / "jobs").iterdir())
    for arguments, name in AIMED.items():
        root = damaged_world.home if name.startswith("people") else damaged_world.host
        path = root / name.replace("ID", job)
        if not can_be_damaged(path, kind) or (kind, path.name) in UNSEEN:
            continue
        with damaged(path, kind, damaged_world.spare):
            given = [job if argument == "ID" else argument for argument in arguments]
            code, out, err = command(*given)
        assert (code, out) == (1, ""), (arguments, out)
        assert err.startswith("error: "), err
        assert str(path) in err.splitlines()[0], err
        assert "\n  why:  " in err
        assert "\n  do:   " in err
        assert max(map(len, err.splitlines())) < len(str(path)) + MAX_REASON + 150


def test_other_versions_of_the_person_can_be_used(damaged_world: World, command: Command) -> None:
    with damaged(damaged_world.person / "runs/1/config.toml", "half", damaged_world.spare):
        code, out, _ = command("models", "show", f"{DAMAGED}@2", "--json")
        rows = json.loads(command("models", "list", "--json")[1])
        with home.use_home(damaged_world.home):
            assert next_version(load_person(DAMAGED)) == 4
    assert (code, json.loads(out)["version"]) == (0, 2)
    assert [(row["model"], bool(row["damaged"])) for row in rows if DAMAGED in row["model"]] == [
        (f"{DAMAGED}@1", True),
        (f"{DAMAGED}@2", False),
        (f"{DAMAGED}@3", False),
    ]
    assert rows[0] == {
        **{"model": f"{DAMAGED}@1", "base": None, "preset": None, "imported": None},
        **{"finished": True, "verdict": None, "proven": False, "active": True},
        "damaged": rows[0]["damaged"],
    }


def test_a_record_of_somebody_else_is_damage(damaged_world: World, command: Command) -> None:
    path = damaged_world.person / "person.toml"
    with damaged(path, "removed", damaged_world.spare):
        shutil.copy(damaged_world.home / "people" / OTHER / "person.toml", path)
        rows = json.loads(command("person", "list", "--json")[1])
    assert rows[0]["name"] == DAMAGED
    assert "it is the record of 'bea'" in rows[0]["damaged"]
    assert rows[1] == {"name": OTHER, "damaged": None}
    path = damaged_world.person / "runs/1/config.toml"
    with damaged(path, "removed", damaged_world.spare):
        shutil.copy(damaged_world.person / "runs/3/config.toml", path)
        rows = json.loads(command("models", "list", "--json")[1])
    assert "the settings of another run" in rows[0]["damaged"]


def test_a_folder_without_a_record_is_listed(damaged_world: World, command: Command) -> None:
    with damaged(damaged_world.person / "person.toml", "removed", damaged_world.spare):
        code, out, _ = command("person", "list")
    assert code == 0
    line, other = out.splitlines()
    assert line.startswith(
        f"{DAMAGED}  damaged: person record {damaged_world.person / 'person.toml'}: "
    )
    assert "it is missing" in line
    assert other == OTHER


def test_a_half_activated_model_is_told(damaged_world: World, command: Command) -> None:
    for suffix in ("hash", "json"):
        path = models_directory(damaged_world.host) / f"{DAMAGED}-1.{suffix}"
        with damaged(path, "removed", damaged_world.spare):
            rows = json.loads(command("models", "list", "--json")[1])
        assert (rows[0]["model"], rows[0]["active"]) == (f"{DAMAGED}@1", False)
        assert str(path) in rows[0]["damaged"]


def test_resumed_metrics_may_be_damaged(damaged_world: World) -> None:
    run = load_run(damaged_world.person / "runs/3/config.toml")
    path = run.directory / "metrics.jsonl"
    content = b'{"step": 1, "loss": 0.5}\n[]\n\xff\n{"step": "many"}\n{"step": 5}\n{"step": 6'
    with damaged(path, "removed", damaged_world.spare):
        path.write_bytes(content)
        run.forget_metrics_after(4)
        assert path.read_bytes() == b'{"step": 1, "loss": 0.5}\n[]\n\xff\n{"step": "many"}\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff\xfe{", "it is not UTF-8 text"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"9" * 6000, "Exceeds the limit"),
        (b'{"a"', "Expecting ':' delimiter"),
    ],
)
def test_what_is_no_json_says_why_in_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamageError, match=reason) as caught:
        read_file(tmp_path / "file", parse_json)
    assert len(str(caught.value)) <= MAX_REASON
    assert "\n" not in str(caught.value)


def test_what_is_no_toml_and_what_is_no_file(tmp_path: Path) -> None:
    assert parse_toml(b"a = 1") == {"a": 1}
    for content, reason in (
        (b"", "it is empty"),
        (b"a =", "Invalid value"),
        (b"\xff", "not UTF-8"),
    ):
        with pytest.raises(DamageError, match=reason):
            parse_toml(content)
    pipe, link, large = (tmp_path / name for name in ("pipe", "link", "large"))
    os.mkfifo(pipe)
    link.symlink_to("missing")
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path, reason in (
        (tmp_path, "Is a directory"),
        (pipe, "it is not a regular file"),
        (link, "it is a link to a file that does not exist"),
        (large, "it is larger than 16 MiB"),
    ):
        with pytest.raises(DamageError, match=reason):
            read_file(path, parse_json)
    assert read_lines(large) == [b"\0" * (MAX_BYTES + 1)]
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing", parse_json)


def _list(command: Command, arguments: Arguments, as_json: bool) -> str:
    code, out, err = command(*arguments, *(["--json"] if as_json else []))
    assert (code, err) == (0, ""), (arguments, err)
    return out


def _keep_other(arguments: Arguments, out: str, as_json: bool) -> Any:
    """What a listing says of the other person."""
    if "show" in arguments:
        return None if DAMAGED in arguments else out
    if as_json:
        keys = ("name", "model", "person")
        return [row for row in json.loads(out) if _is_other(row.get(key) for key in keys)]
    return [line for line in out.splitlines() if _is_other(line.split()[:2])]


def _is_other(words: Iterable[str | None]) -> bool:
    return any(word is not None and word.partition("@")[0] == OTHER for word in words)


def _find_damage(arguments: Arguments, out: str, as_json: bool) -> list[str]:
    """What a listing says of damage."""
    if not as_json:
        words = ("damaged: ", "damaged (", "problem: ")
        return [line for line in out.splitlines() if any(word in line for word in words)]
    rows = json.loads(out)
    if "show" in arguments:
        return [*rows["problems"], *(run["damaged"] or "" for run in rows["run_details"])]
    return [row["damaged"] or "" for row in rows]


def _remove_once_seen(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Let a file be gone as soon as something that lists its folder has seen it."""
    glob, iterdir, walk = Path.glob, Path.iterdir, os.walk

    def tell(paths: Iterable[Path]) -> Iterator[Path]:
        found = list(paths)
        if path in found:
            path.unlink(missing_ok=True)
        return iter(found)

    def see(*arguments: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in walk(*arguments, **options):
            if path.name in names and Path(folder) == path.parent:
                path.unlink(missing_ok=True)
            yield folder, folders, names

    patch.setattr(Path, "glob", lambda folder, pattern: tell(glob(folder, pattern)))
    patch.setattr(Path, "iterdir", lambda folder: tell(iterdir(folder)))
    patch.setattr(os, "walk", see)
