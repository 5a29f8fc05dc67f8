"""The drawn person that all rounds begin with, and the folders of a round."""

import base64
import json
import os
import pickle
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.forked import fork
from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.demo_world import QUICK_PRESET

NAME = "ada"
SEED = FIRST_UNSEEN_SEED + 7
SHOTS, FRAMES = 6, 6


@dataclass(frozen=True)
class Places:
    """The folders of one round, or of the template all rounds are copied from."""

    root: Path

    @property
    def home(self) -> Path:
        """The home."""
        return self.root / "home"

    @property
    def host(self) -> Path:
        """FaceFusion's folder."""
        return self.root / "host"

    @property
    def out(self) -> Path:
        """Where exports go."""
        return self.root / "out"

    @property
    def person(self) -> Path:
        """The person's folder."""
        return self.home / "people" / NAME


@dataclass(frozen=True)
class Material:
    """What rounds are made from; none of it is changed by them."""

    template: Places
    footage: Path
    more: Path
    """Footage that is not extracted yet."""
    preset: Path
    sent: Path
    """An exported model, to be imported."""
    crops: tuple[str, ...]
    """Ids of kept crops."""
    marks: tuple[bytes, ...]
    """Embeddings of the person, as in files, and digests of the cut-outs."""


def create_material(root: Path) -> Material:
    """Draw the person, extract, train once, import the result as a second version, activate.

    It is done by a process of its own: from one with threads, nothing can be forked safely.
    """
    result = root / "material"
    output = root / "material.txt"
    pid = fork(lambda: result.write_bytes(pickle.dumps(_create_material(root))), output)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        sys.exit(f"the material could not be made ({status})\n{output.read_text()}")
    found: Material = pickle.loads(result.read_bytes())
    return found


def _create_material(root: Path) -> Material:
    template = Places(root / "template")
    footage, more, preset = root / "footage", root / "more", root / "quick.toml"
    write_footage(footage, SEED, SHOTS, FRAMES, seed=3)
    write_footage(more, SEED, 2, FRAMES, seed=9)
    preset.write_text(QUICK_PRESET)
    (template.host / "facefusion").mkdir(parents=True)
    (template.host / "facefusion.py").touch()
    (template.host / "facefusion" / "metadata.py").write_text("METADATA = {'version': '3.8.1'}\n")
    template.out.mkdir()
    sent = root / "sent.onnx"
    with home.use_home(template.home):
        analyser = DemoAnalyser([footage, more])
        person = add_person(NAME, create_consent(None, "A drawn person agrees to nothing."))
        extract_footage(person, [footage], analyser)
        run, _ = train_person(person, analyser, TrainRequest(base="demo", preset=str(preset)))
        transfer.export_model(person, run, sent)
        elsewhere.forget(person.directory, sent)
        transfer.import_model(sent, NAME, [])
        store.activate(person, run, template.host, force=True)
        records = read_manifest(person)
        vectors = [record.embedding for record in records if record.embedding is not None]
        raw = [vector.astype("<f4").tobytes() for vector in vectors]
        raw.append(store.read_card(run.model_path).get_vector().astype("<f4").tobytes())
    marks = [base64.b64encode(vector) for vector in raw] + raw
    marks += [record.sha256.encode() for record in records if record.sha256]
    crops = tuple(record.id for record in records if record.kept)
    return Material(template, footage, more, preset, sent, crops, tuple(marks))


def copy_template(material: Material, root: Path) -> Places:
    """The folders of a round."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(material.template.root, root, symlinks=True)
    places = Places(root)
    # The recorded FaceFusion is the template's.
    record = places.person / "hosts.json"
    record.write_text(json.dumps([str(places.host.resolve())]))
    return places
