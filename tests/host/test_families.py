"""Every swapper of FaceFusion, untuned, is fed by the processor as by the host's own."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import onnx
import pytest

from facefusion_finetune.errors import FinetuneError, SwapperError
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.host.models import card_path, hash_path
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.catalogue import FAMILIES, SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file, place_base
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.swappers.vectors import cut_source_picture, prepare_source_inputs
from tests.support import host as support
from tests.support import swappers
from tests.support.families import ENTRIES

pytestmark = pytest.mark.host

NAMES = sorted(ENTRIES)
CONVERTED = "simswap_256"
PICTURE = "uniface_256"


@pytest.fixture(scope="module")
def host(linked_host: Path) -> Iterator[Path]:
    """The linked host with a stand-in of every swapper, and without them afterwards."""
    written = swappers.furnish_swappers(linked_host)
    yield linked_host
    for path in written:
        path.unlink()


@pytest.fixture
def swaps(
    host: Path, host_analyser: FaceFusionAnalyser, target_image: Path, source_image: Path
) -> Iterator[swappers.Swaps]:
    """Swaps in this process; FaceFusion's state is as it was afterwards."""
    made = swappers.Swaps(host, target_image, source_image)
    before = {context: dict(items) for context, items in made.state.STATE_SET.items()}
    yield made
    for context, items in before.items():
        made.state.STATE_SET[context].clear()
        made.state.STATE_SET[context].update(items)
    importlib.import_module("facefusion_finetune.host.adapter").clear_face_store()


@pytest.fixture
def converters(swaps: swappers.Swaps) -> ModuleType:
    return importlib.import_module(swaps.ours.__package__ + ".converters")


def read_emap(options: SwapperOptions) -> Any:
    """The last initializer, as training takes it."""
    if not options.family.needs_emap:
        return None
    last = onnx.load(str(options.path)).graph.initializer[-1]
    return onnx.numpy_helper.to_array(last).astype(numpy.float32)


def find_source_face(swaps: swappers.Swaps) -> Any:
    face = swaps.theirs.extract_source_face([swaps.source])
    assert face is not None
    return face


def create_host_source(swaps: swappers.Swaps, options: SwapperOptions) -> Any:
    """The source input as the host's own processor makes it."""
    swaps.state.init_item("face_swapper_model", options.name)
    face = find_source_face(swaps)
    if options.family.picture:
        return swaps.theirs.prepare_source_frame(face, swaps.source)
    return swaps.theirs.prepare_source_embedding(face)


def test_all_are_listed_and_described_by_the_hosts_own_entries(
    host: Path, host_analyser: FaceFusionAnalyser
) -> None:
    assert host_analyser.list_swappers() == NAMES
    for name, entry in ENTRIES.items():
        options = host_analyser.get_swapper(name)
        assert options.path == host / ".assets" / "models" / f"{name}.onnx"
        assert (options.type, options.size) == (entry.family, (entry.size, entry.size))
        assert (options.family.signed, options.precision) == (entry.signed, entry.precision)
        assert (1, *options.family.source_shape) == entry.source_shape
        assert all(path.is_file() for path in options.files)
        assert len(options.files) == 1 + options.family.needs_converter
        assert options.year in range(2020, 2026)


def test_a_file_derived_from_a_known_one_is_fed_alike(
    host: Path, host_analyser: FaceFusionAnalyser, tmp_path: Path
) -> None:
    own = host_analyser.get_swapper("ghost_2_256")
    derived = host_analyser.get_swapper("ghost_2_256", tmp_path / "mine.onnx")
    assert derived == SwapperOptions(**{**vars(own), "path": tmp_path / "mine.onnx"})


def test_a_model_of_an_unknown_type_is_said(
    host_analyser: FaceFusionAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = importlib.import_module("facefusion_finetune.host.adapter")
    model_set = dict(adapter.get_face_swapper_set())
    model_set["facedancer_256"] = {**model_set["uniface_256"], "type": "facedancer"}
    monkeypatch.setattr(adapter, "get_face_swapper_set", lambda: model_set)
    assert "facedancer_256" not in host_analyser.list_swappers()
    with pytest.raises(SwapperError, match=r"type 'facedancer'.*inswapper, simswap, ghost"):
        host_analyser.get_swapper("facedancer_256")


@pytest.mark.parametrize("name", NAMES)
def test_source_inputs_are_the_hosts_own(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser, name: str
) -> None:
    options = host_analyser.get_swapper(name)
    expected = create_host_source(swaps, options)
    face = find_source_face(swaps)
    maker = SourceMaker(options, read_emap(options))
    if options.family.picture:
        picture = cut_source_picture(
            options.family, swaps.source, face.landmark_set["5/68"], host_analyser.warp_face
        )
        made = prepare_source_inputs(picture[None])
    else:
        made = prepare_source_inputs(maker.create_vector(face.embedding)[None])
    assert made.dtype == expected.dtype == numpy.float32
    assert made.shape == expected.shape
    assert (made == expected).all()
    swaps.theirs.clear_inference_pool()


@pytest.mark.parametrize("name", NAMES)
def test_a_given_source_is_swapped_as_by_the_host(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser, name: str
) -> None:
    options = host_analyser.get_swapper(name)
    changed = not options.family.picture
    with swaps.registered(options, **swappers.describe_person(options, 1)) as person:
        usual = swaps.by_ours(person, None, None, with_source=True)
        assert (usual == swaps.by_host(name, swappers.boost(options, 1), 0.5)).all()
        assert numpy.abs(usual.astype(int) - swaps.target).max() > 10
        # at a light weight, and cut into four tiles
        large = swappers.boost(options, 2)
        other = swaps.by_ours(person, large, 0.1, with_source=True)
        assert (other == swaps.by_host(name, large, 0.1)).all()
        assert not (other == usual).all()
        light = swaps.by_ours(person, None, 0.1, with_source=True)
        assert (light == usual).all() != changed


@pytest.mark.parametrize("name", NAMES)
def test_without_a_source_the_person_in_the_card_is_swapped_in(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser, name: str
) -> None:
    options = host_analyser.get_swapper(name)
    face = find_source_face(swaps)
    ready = create_host_source(swaps, options)
    swaps.theirs.clear_inference_pool()
    person: dict[str, Any] = {"person_vector": tuple(map(float, face.embedding_norm))}
    if options.family.picture:
        picture = (ready[0] * 255).round().transpose(1, 2, 0)[..., ::-1].astype(numpy.uint8)
        person["person_picture"] = swappers.encode(picture)
    if options.family.needs_converter:
        person["person_source"] = tuple(map(float, ready[0]))
    with swaps.registered(options, **person) as guest:
        same = swaps.by_ours(guest, None, None, with_source=False).astype(int)
        given = swaps.by_ours(guest, None, None, with_source=True)
    with swaps.registered(options, **swappers.describe_person(options, 2)) as guest:
        another = swaps.by_ours(guest, None, None, with_source=False)
    # the card keeps a vector in single precision
    assert numpy.abs(same - given).max() <= 1
    assert numpy.abs(same - another).max() > 1


def test_several_source_images_are_averaged_as_by_the_host(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser
) -> None:
    mirrored = numpy.ascontiguousarray(swaps.source[:, ::-1])
    face = swaps.theirs.extract_source_face([swaps.source, mirrored])
    for name in ("inswapper_128", "hyperswap_1a_256", CONVERTED):
        options = host_analyser.get_swapper(name)
        swaps.state.init_item("face_swapper_model", name)
        expected = swaps.theirs.prepare_source_embedding(face)
        sources = importlib.import_module(swaps.ours.__package__ + ".sources")
        with swaps.registered(options, **swappers.describe_person(options, 3)) as person:
            swaps.by_ours(person, None, None, with_source=True)
            made = sources.prepare_source(
                [swaps.source, mirrored],
                swaps.ours.get_active_model(),
                swaps.ours.get_active_model().card,
                swaps.ours.get_inference_pool().get("embedding_converter"),
            )
        assert (made == expected).all(), name
        swaps.theirs.clear_inference_pool()


def test_the_converter_is_needed_for_a_given_source_alone(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser
) -> None:
    options = host_analyser.get_swapper(CONVERTED)
    assert options.converter is not None
    content = options.converter.read_bytes()
    with swaps.registered(options, **swappers.describe_person(options, 4)) as person:
        swaps.by_ours(person, None, None, with_source=True)
        both = swaps.ours.get_inference_pool()
        assert set(both) == {"finetuned_swapper", "embedding_converter"}
        swaps.by_ours(person, None, None, with_source=False)
        assert set(swaps.ours.get_inference_pool()) == {"finetuned_swapper"}
        options.converter.unlink()
        try:
            swaps.by_ours(person, None, None, with_source=False)
            swaps.state.init_item("source_paths", [str(swaps.source_path)])
            assert not swaps.ours.pre_check()
            assert not swaps.ours.pre_process("preview")
            assert importlib.import_module("facefusion.process_manager").is_pending()
        finally:
            options.converter.write_bytes(content)
        swaps.by_ours(person, None, None, with_source=True)


def test_a_run_in_progress_is_not_ended_by_a_download(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser, converters: ModuleType
) -> None:
    manager = importlib.import_module("facefusion.process_manager")
    options = host_analyser.get_swapper(CONVERTED)
    assert options.converter is not None
    card = support.create_card(swaps.host, "guest", 1)
    card = type(card)(**{**vars(card), "type": options.type, "base_name": "mine"})
    manager.start()
    try:
        # any swapper of the type names the converter
        assert converters.provide_converter(card) == options.converter
        hash_path(options.converter).rename(hash_path(options.converter).with_suffix(".away"))
        with pytest.raises(FinetuneError, match="missing or damaged, and could not be downloaded"):
            converters.provide_converter(card)
        assert manager.is_processing()
    finally:
        manager.end()
        hash_path(options.converter).with_suffix(".away").rename(hash_path(options.converter))


@pytest.mark.parametrize(
    ("name", "lacking"), [(CONVERTED, "person_source"), (PICTURE, "person_picture")]
)
def test_a_card_without_its_person_is_refused(
    swaps: swappers.Swaps,
    host_analyser: FaceFusionAnalyser,
    name: str,
    lacking: str,
) -> None:
    options = host_analyser.get_swapper(name)
    models = importlib.import_module(swaps.ours.__package__ + ".models")
    with (
        swaps.registered(options) as person,
        pytest.raises(FinetuneError, match=f"its card has no usable {lacking}"),
    ):
        models.load_model(person)


def test_a_linked_model_draws_the_same_and_keeps_its_emap(
    swaps: swappers.Swaps, host_analyser: FaceFusionAnalyser
) -> None:
    options = host_analyser.get_swapper("inswapper_128")
    models = importlib.import_module(swaps.ours.__package__ + ".models")
    digest = digest_file(options.path)
    path = swappers.register(swaps.host, "linked", options, base_sha256=digest)
    entries = encode_metadata(read_card(path))
    beside = place_base(options.path, digest, options.name, path.parent)
    try:
        inline = swaps.by_ours("linked", None, None, with_source=False)
        save_model(open_model(options.path), path, {}, entries, link=beside.name)
        support.write_hash(path)
        assert path.stat().st_size < options.path.stat().st_size / 2
        assert (swaps.by_ours("linked", None, None, with_source=False) == inline).all()
        model = onnx.load(str(path), load_external_data=False)
        emap = model.graph.initializer[-1]
        onnx.external_data_helper.set_external_data(emap, beside.name, 0, len(emap.raw_data))
        emap.ClearField("raw_data")
        onnx.save(model, str(path))
        support.write_hash(path)
        with pytest.raises(FinetuneError, match="lacks the final 512 x 512 matrix"):
            models.load_model("linked")
    finally:
        swaps.ours.clear_inference_pool()
        for file in (path, hash_path(path), card_path(path), beside):
            file.unlink(missing_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inswapper_128", CONVERTED, "hyperswap_1a_256", PICTURE])
def test_whole_commands_give_the_same_picture(
    swaps: swappers.Swaps,
    host_analyser: FaceFusionAnalyser,
    source_image: Path,
    target_image: Path,
    tmp_path: Path,
    name: str,
) -> None:
    arguments = ("-s", source_image, "-t", target_image, "-o")
    options = host_analyser.get_swapper(name)
    with swaps.registered(options, **swappers.describe_person(options, 5)) as person:
        model = ("--finetuned-swapper-model", person)
        result = support.run_face_swapper(
            swaps.host, *arguments, tmp_path / "theirs.png", model=name
        )
        assert result.code == 0, result.output
        result = support.run_processor(swaps.host, *arguments, tmp_path / "ours.png", *model)
        assert result.code == 0, result.output
        ours = (tmp_path / "ours.png").read_bytes()
        assert ours == (tmp_path / "theirs.png").read_bytes()
        probe = support.create_startup_folder(tmp_path / "startup", support.PROBE)
        result = support.run_processor(
            swaps.host,
            *("-t", target_image, "-o", tmp_path / "person.png", *model),
            **probe,
            PROBE_FILE=str(tmp_path / "probe.txt"),
        )
        assert result.code == 0, result.output
        assert (tmp_path / "probe.txt").read_text() == "cv2"
    person_picture = cv2.imread(str(tmp_path / "person.png"))
    assert (tmp_path / "person.png").read_bytes() != ours
    assert not (person_picture == swaps.target).all()


def test_every_type_of_the_host_is_known(host_analyser: FaceFusionAnalyser) -> None:
    adapter = importlib.import_module("facefusion_finetune.host.adapter")
    types = {entry["type"] for entry in adapter.get_face_swapper_set().values()}
    assert types == set(FAMILIES)
