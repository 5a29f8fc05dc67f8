"""Every kind of swapper goes the whole way: sources, pairs, training, judgement, card."""

import json
from pathlib import Path

import numpy
import pytest

from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest, stack_embeddings
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs.sources import gather_sources
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.swappers.source import SourceMaker, restore_source
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.demo_world import PERSON_SEED, QUICK_PRESET
from tests.support.families import ONE_OF_EACH
from tests.support.family_world import FamilyAnalyser


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of the person: at 256 pixels each swap takes its time."""
    folder = tmp_path_factory.mktemp("frames")
    write_footage(folder, PERSON_SEED, 4, 3, seed=3)
    return folder


@pytest.fixture(autouse=True)
def each_of_the_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefusion_finetune.evaluation.material.TARGETS_PER_PERSON", 1)


@pytest.fixture(scope="module")
def swapper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swappers")


@pytest.fixture(scope="module")
def world(frames: Path, swapper_folder: Path) -> FamilyAnalyser:
    return FamilyAnalyser([frames], swapper_folder)


@pytest.fixture(scope="module")
def lonely_world(frames: Path, swapper_folder: Path) -> FamilyAnalyser:
    return FamilyAnalyser([frames], swapper_folder, knows_others=False)


@pytest.fixture
def extracted(person: Person, frames: Path, world: FamilyAnalyser) -> Person:
    """The person with crops of these frames."""
    extract_footage(person, [frames], world)
    return person


def _write_preset(folder: Path, old: str = "", new: str = "") -> Path:
    text = QUICK_PRESET.replace("steps = 8", "steps = 2").replace(
        "preview_every = 4", "preview_every = 1"
    )
    text = text.replace("minimum_crops = 12", "minimum_crops = 4")
    text = text.replace("perceptual = 0.3\nidentity = 0.2", "identity = 0.2")
    assert old in text
    path = folder / "quick.toml"
    path.write_text(text.replace(old, new) if old else text)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_training_ends_with_a_model_that_carries_its_person(
    extracted: Person, world: FamilyAnalyser, tmp_path: Path, name: str
) -> None:
    run, report = train_person(
        extracted, world, TrainRequest(base=name, preset=str(_write_preset(tmp_path)), seed=1)
    )
    options = world.get_swapper(name)
    card = read_card(run.model_path)
    family = options.family
    assert (card.type, card.size, card.mean) == (family.type, options.size, options.mean)
    assert (card.person_source is not None) == family.needs_converter
    assert (card.person_picture is not None) == (family.picture is not None)
    source = restore_source(card, read_swapper(run.model_path).emap)
    maker = SourceMaker(options, read_swapper(options.path).emap)
    if family.picture:
        assert source.shape == (*family.picture.size[::-1], 3)
    else:
        numpy.testing.assert_array_equal(source, maker.create_vector(card.get_vector()))
    length = numpy.linalg.norm(card.person_vector)
    assert (length == pytest.approx(1, abs=1e-5)) == (not family.needs_converter)
    losses = [json.loads(line) for line in (run.directory / "metrics.jsonl").open()]
    assert all(0 < line["l1"] < 1 for line in losses)
    before, after = open_model(options.path), open_model(run.model_path)
    assert list(before.tensors) == list(after.tensors)
    changed = {
        name
        for name in before.tensors
        if before.read_tensor(name).tobytes() != after.read_tensor(name).tobytes()
    }
    layers = select_layers(read_swapper(options.path), "last_3")
    assert changed
    assert changed <= {owned.initializer for layer in layers for owned in layer.owned}
    assert report.figures["face_l1"].pairs == report.material.held_out > 0
    assert evaluate_run(extracted, run, world) == report


@pytest.mark.parametrize("name", ["simswap_256", "ghost_1_256"])
def test_a_converter_gets_vectors_at_the_persons_own_length(
    extracted: Person, world: FamilyAnalyser, name: str
) -> None:
    options = world.get_swapper(name)
    records = [record for record in read_manifest(extracted) if record.kept][:4]
    embeddings = stack_embeddings(records)
    asked: list[float] = []

    class Listening(SourceMaker):
        def create_vector(self, embedding: numpy.ndarray) -> numpy.ndarray:
            asked.append(float(numpy.linalg.norm(embedding)))
            return super().create_vector(embedding)

    crops = load_crops(extracted, records, world, options)
    table = gather_sources(crops, create_centroid(embeddings), Listening(options, None), world, 0)
    lengths = numpy.linalg.norm(embeddings, axis=1)
    assert asked[:4] == pytest.approx(lengths, rel=1e-5)
    assert asked[4:] == pytest.approx([lengths.mean()] * (1 + len(table.others)), rel=1e-5)
    assert numpy.linalg.norm(table.person.vector) == pytest.approx(lengths.mean(), rel=1e-5)
    assert table.stack().shape == (1 + 4 + len(table.others), 512)


def test_a_picture_base_is_driven_by_the_crop_nearest_to_the_centroid(
    extracted: Person, world: FamilyAnalyser
) -> None:
    options = world.get_swapper("blendswap_256")
    records = [record for record in read_manifest(extracted) if record.kept][:6]
    crops = load_crops(extracted, records, world, options)
    centroid = create_centroid(stack_embeddings(records))
    table = gather_sources(crops, centroid, SourceMaker(options, None), world, 0)
    nearest = max(
        range(6),
        key=lambda row: float(
            crops[row].record.embedding @ centroid / numpy.linalg.norm(crops[row].record.embedding)
        ),
    )
    numpy.testing.assert_array_equal(table.person.source, table.own[nearest])
    assert table.own.shape == (6, 112, 112, 3)
    expected, _ = world.warp_face(
        crops[2].cutout, crops[2].record.landmarks_in_cutout(), "arcface_112_v2", (112, 112)
    )
    numpy.testing.assert_array_equal(table.own[2], expected)
    assert table.others.dtype == numpy.uint8
    assert len({picture.tobytes() for picture in table.others}) == len(table.others)


def test_without_pictures_of_others_such_pairs_are_refused_before_anything_is_made(
    extracted: Person, lonely_world: FamilyAnalyser, tmp_path: Path
) -> None:
    with pytest.raises(SwapperError, match="need pictures of other people") as caught:
        train_person(
            extracted,
            lonely_world,
            TrainRequest(base="uniface_256", preset=str(_write_preset(tmp_path))),
        )
    assert "self pairs only" in caught.value.todo
    assert not extracted.runs_directory.exists()


@pytest.mark.slow
def test_without_pictures_of_others_a_model_is_not_judged(
    extracted: Person, lonely_world: FamilyAnalyser, tmp_path: Path
) -> None:
    preset = _write_preset(tmp_path, "cycle = 2\nself = 1\nprior = 1", "self = 1")
    run, report = train_person(
        extracted, lonely_world, TrainRequest(base="blendswap_256", preset=str(preset))
    )
    assert report.verdict == "not judged"
    assert report.proven is False
    assert any("there are no pictures of other people" in note for note in report.notes)
    assert "face_l1" not in {check.name for check in report.checks}
    assert read_card(run.model_path).judge_result["verdict"] == "not judged"
    page = run.report_path.read_text()
    assert "there are no pictures of other people" in page
    assert "Somebody else was swapped onto" not in page
    assert evaluate_run(extracted, run, lonely_world) == report
