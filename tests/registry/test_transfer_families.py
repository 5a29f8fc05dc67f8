"""Models of every family to and from another machine, those with several outputs among them."""

from pathlib import Path

import pytest

from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.registry import transfer
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.families import ENTRIES, build
from tests.support.runs import create_finished_run, move_weights

NAMES = [
    *("inswapper_128", "simswap_256", "ghost_1_256", "blendswap_256", "uniface_256"),
    *("hififace_unofficial_256", "hyperswap_1a_256"),
]


def test_one_of_each_family() -> None:
    assert {ENTRIES[name].family for name in NAMES} == {one.family for one in ENTRIES.values()}


@pytest.mark.parametrize("standalone", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_exported_and_imported(
    name: str, standalone: bool, home_folder: Path, tmp_path: Path
) -> None:
    base_path = tmp_path / f"{name}.onnx"
    base_path.write_bytes(build(name).SerializeToString())
    entry = ENTRIES[name]
    options = SwapperOptions(
        name=name,
        path=base_path,
        type=entry.family,
        template="arcface_128",
        size=(entry.size, entry.size),
        mean=(0.5, 0.5, 0.5),
        standard_deviation=(0.5, 0.5, 0.5),
        vendor="tests",
        licence="none",
    )
    layer = select_layers(read_swapper(base_path), "last_1")[0]
    weights = move_weights(open_model(base_path), layer.initializers)
    person = add_person("ada", create_consent(None, "A stand-in for tests."))
    run = create_finished_run(person, options, weights=weights)
    output = tmp_path / "ada.onnx"
    transfer.export_model(person, run, output, standalone=standalone)
    imported = transfer.import_model(output, None, [tmp_path])
    made, sent = open_model(imported.run.model_path), open_model(run.model_path)
    assert made.is_linked
    assert imported.run.model_path.stat().st_size < base_path.stat().st_size
    for initializer in sent.tensors:
        first, second = made.read_tensor(initializer), sent.read_tensor(initializer)
        assert first.tobytes() == second.tobytes()
