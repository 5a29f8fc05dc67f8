"""The whole engine through the recipe: gate, vector, cache, kept-back shot, others, dry run."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import SwapperError, TrainingError, UsageError
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs import crops
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run, find_run, list_runs
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.split import read_identity_gate
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.training import prepare
from facefusion_finetune.training.cache.feed import CachedFeed
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.recipe import dry_run_person, train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.forked import ForkServer
from tests.support.runs import read_digests

PRESET = """
description = "A few steps of everything the engine has, for tests."
minimum_crops = 8
layers = "last_3"
lora_rank = 4
gated = true
variants = 1
degraded = 0.25
face_weight = 1.4
outside_weight = 0.4
batch_size = 4
steps = 8
learning_rate = 0.05
rate = "relative"
schedule = "cosine"
warm_up = 0.1
ema = 0.5
clip_norm = 1.0
validate_every = 2
patience = 4
checkpoint_every = 2
preview_every = 4

[vector]
steps = 3
learning_rate = 0.01

[pairs]
cycle = 1
self = 2
cross = 1

[losses]
l1 = 1.0
high_pass = 0.5
ssim = 0.1
features = 0.3
identity = 0.2
anchor = 0.5
"""


@pytest.fixture
def engine_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(crops, "MIN_SHOTS_FOR_VALIDATION", 3)
    path = tmp_path / "engine.toml"
    path.write_text(PRESET)
    return str(path)


def test_gated_run_changes_nobody_else(
    extracted: Person, analyser: DemoAnalyser, other_footage: Path, engine_preset: str
) -> None:
    run, report = train_person(
        extracted,
        analyser,
        TrainRequest(base="demo", preset=engine_preset, seed=3, others=(other_footage,)),
    )
    base_path = analyser.get_swapper("demo").path
    base, tuned = open_model(base_path), open_model(run.model_path)
    for name in base.tensors:
        assert tuned.read_tensor(name).tobytes() == base.read_tensor(name).tobytes()
    gate = read_identity_gate(tuned)
    assert isinstance(gate, IdentityGate)
    sources = numpy.random.default_rng(0).standard_normal((4, 512)).astype(numpy.float32)
    sources /= numpy.linalg.norm(sources, axis=1, keepdims=True)
    assert (gate.measure_opening(sources) == 0).all()
    own = gate.direction[None]
    target = numpy.random.default_rng(1).uniform(0, 1, (1, 3, 64, 64)).astype(numpy.float32)
    sessions = [create_session(path, "x") for path in (base_path, run.model_path)]
    for source in (*sources, own[0]):
        feeds = {"target": target, "source": source[None]}
        before, after = (session.run(None, feeds)[0] for session in sessions)
        is_own = bool((source == own[0]).all())
        assert numpy.allclose(before, after, atol=1e-5) != is_own

    config = run.config
    assert config.kept_back
    assert not set(config.kept_back) & {*config.train, *config.held_out}
    lines = [
        json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines if "score" in line] == [0, 2, 4, 6, 8]
    assert (run.directory / "others" / "others.jsonl").is_file()
    assert not (run.directory / "cache").exists()
    assert report.figures["others_drift"].change.mean == pytest.approx(0, abs=1e-3)
    centroid = prepare.create_centroid(
        numpy.stack([crop.embedding for crop in _records(extracted, run)])
    )
    vector = read_card(run.model_path).get_vector()
    cosine = float(vector @ centroid / numpy.linalg.norm(vector))
    assert 0.5 < cosine < 0.99999


def _records(person: Person, run: Run) -> list[crops.CropRecord]:
    chosen = set(run.config.train)
    return [record for record in crops.read_manifest(person) if record.id in chosen]


def test_killed_engine_is_resumed_to_the_same_weights(
    extracted_home: Path,
    footage: Path,
    other_footage: Path,
    tmp_path: Path,
    engine_preset: str,
    fork_server: ForkServer,
) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from facefusion_finetune import home
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.runs import crops
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

crops.MIN_SHOTS_FOR_VALIDATION = 3
writes = 0
real = home.write_whole

def write_whole(path, write, mode=0o600):
    global writes
    writes += path.name == "last.safetensors"
    if sys.argv[1] == "killed" and writes == 3:
        def half(file):
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        real(path, half, mode)
    real(path, write, mode)

home.write_whole = write_whole
analyser = DemoAnalyser([Path({str(footage)!r}), Path({str(other_footage)!r})])
person = load_person("ada")
if sys.argv[1] == "resumed":
    train_person(person, analyser, TrainRequest(resume=True))
else:
    others = [Path({str(other_footage)!r})]
    request = TrainRequest(base="demo", preset={engine_preset!r}, seed=11, others=others)
    train_person(person, analyser, request)
"""
    tensors = {}
    for folder, part, expected in (
        ("one", "whole", 0),
        ("two", "killed", -signal.SIGKILL),
        ("two", "resumed", 0),
    ):
        if not (tmp_path / folder).exists():
            shutil.copytree(extracted_home, tmp_path / folder)
        with home.use_home(tmp_path / folder):
            done = fork_server.run(code, part)
            assert done.returncode == expected, done.stderr
            run = find_run(load_person("ada"), None)
            if part == "killed":
                assert load_checkpoint(run.checkpoint_path).step == 4
            else:
                tensors[part] = read_digests(run)
    assert tensors["resumed"] == tensors["whole"]


def _lengthen(preset_file: Path, folder: Path) -> str:
    """A preset of so many steps that a cache pays."""
    text = preset_file.read_text().replace("steps = 8", "steps = 60")
    path = folder / "long.toml"
    path.write_text(text.replace("preview_every = 4", "preview_every = 60"))
    return str(path)


def test_cache_is_used_where_it_pays_and_changes_nothing(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feeds = []
    choose = prepare.choose_feed
    monkeypatch.setattr(
        prepare, "choose_feed", lambda *given: feeds.append(choose(*given)) or feeds[-1]
    )
    preset = _lengthen(preset_file, tmp_path)
    outputs = []
    for size in (10**9, 0):
        run, _ = train_person(
            extracted, analyser, TrainRequest(base="demo", preset=preset, seed=2, cache_size=size)
        )
        model = open_model(run.model_path)
        outputs.append(model.read_tensor("Conv_612.weight"))
    assert [isinstance(feed, CachedFeed) for feed in feeds] == [True, False]
    base = open_model(analyser.get_swapper("demo").path).read_tensor("Conv_612.weight")
    moved = numpy.abs(outputs[1] - base).max()
    assert numpy.abs(outputs[0] - outputs[1]).max() < 0.05 * moved


def test_cache_of_another_run_is_refused_and_stays(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, tmp_path: Path
) -> None:
    preset = _lengthen(preset_file, tmp_path)
    cache = tmp_path / "cache"

    def stop(done: int, total: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=preset, cache=cache),
            observer=Observer(on_step=stop),
        )
    kept = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert kept
    with pytest.raises(TrainingError, match="ada@1") as caught:
        train_person(extracted, analyser, TrainRequest(base="demo", preset=preset, cache=cache))
    assert str(cache) in caught.value.given
    assert [run.reference for run in list_runs(extracted)] == ["ada@1"]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == kept


def test_dry_run_says_what_would_be_trained_and_writes_nothing(
    extracted: Person, analyser: DemoAnalyser, engine_preset: str
) -> None:
    before = sorted(path for path in home.home_directory().rglob("*"))
    measured = dry_run_person(extracted, analyser, TrainRequest(base="demo", preset=engine_preset))
    assert sorted(path for path in home.home_directory().rglob("*")) == before
    assert not list_runs(extracted)
    assert measured.steps == 8
    assert measured.seconds > 0
    assert measured.peak_bytes > 10**7
    assert all(name.startswith("branch/") for name in measured.trained)
    assert min(measured.pairs[kind] for kind in ("self", "cycle", "cross")) > 0
    assert measured.pairs["prior"] == 0


def test_footage_that_judges_may_not_train(
    extracted: Person, analyser: DemoAnalyser, other_footage: Path, engine_preset: str
) -> None:
    with pytest.raises(UsageError, match="cannot be used for training and for evaluation"):
        train_person(
            extracted,
            analyser,
            TrainRequest(
                base="demo", preset=engine_preset, targets=(other_footage,), others=[other_footage]
            ),
        )
    assert not list_runs(extracted)


def test_commercial_use_of_a_base_that_forbids_it(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = analyser.get_swapper
    monkeypatch.setattr(
        analyser,
        "get_swapper",
        lambda name, path=None: replace(get(name, path), licence="Non-Commercial"),
    )
    with pytest.raises(SwapperError, match="does not allow commercial use"):
        train_person(
            extracted, analyser, TrainRequest(base="demo", preset=str(preset_file), commercial=True)
        )
    assert not list_runs(extracted)
