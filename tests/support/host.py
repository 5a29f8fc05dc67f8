"""A FaceFusion for tests: a furnished copy of a checkout, its commands, a person's model."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from facefusion_finetune.host.locate import BENCH_MARKER, PATH_VARIABLE, is_facefusion
from facefusion_finetune.host.models import card_path, hash_path, model_path, models_directory
from facefusion_finetune.swappers.card import ModelCard, encode_card, encode_metadata
from tests.support.vectors import draw_direction
from tests.support.waiting import HANGS

HOST_MODULES = ("cv2", "gradio", "numpy", "onnx", "onnxruntime", "scipy", "tqdm")
BENCH_VARIABLE = "FACEFUSION_FINETUNE_BENCH"
OTHER_PATHS_VARIABLE = "FACEFUSION_PATHS"
REPOSITORY = Path(__file__).resolve().parents[2]
BENCH_SETTINGS = {"face_detector_model": "yunet", "execution_providers": ["cpu"]}
BENCH_OPTIONS = ("--face-detector-model", "yunet", "--execution-providers", "cpu")
"""The bench has no model of FaceFusion's default detector."""
NARROW = "0.0625"
"""Share of the swapper's true channels: half the bench's own, for a third of its time."""

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "facefusion_finetune":
            raise ModuleNotFoundError(f"No module named {name!r}", name="facefusion_finetune")

sys.meta_path.insert(0, Blocker())
"""
PROBE = """
import atexit, os, sys

@atexit.register
def report():
    with open(os.environ["PROBE_FILE"], "w") as file:
        file.write(" ".join(name for name in ("torch", "gradio", "cv2") if name in sys.modules))
"""


@dataclass(frozen=True)
class Result:
    """How a command ended, and all it said."""

    code: int
    output: str


def find_checkout() -> Path | None:
    """The FaceFusion checkout to copy: `FACEFUSION_PATH`, else ~/facefusion."""
    path = Path(os.environ.get(PATH_VARIABLE) or "~/facefusion").expanduser()
    return path if is_facefusion(path) else None


def find_other_checkouts() -> list[Path]:
    """Checkouts of other versions: `FACEFUSION_PATHS`."""
    return [
        Path(path) for path in os.environ.get(OTHER_PATHS_VARIABLE, "").split(os.pathsep) if path
    ]


def list_checkouts() -> list[Path]:
    """Checkouts of all versions that are at hand, the main one first."""
    checkout = find_checkout()
    return [*([checkout] if checkout else []), *find_other_checkouts()]


def find_bench() -> Path | None:
    """The offline bench: `FACEFUSION_FINETUNE_BENCH`, else beside the repository."""
    configured = os.environ.get(BENCH_VARIABLE)
    path = Path(configured) if configured else REPOSITORY.parent / "shared" / "bench"
    return path if (path / "furnish.py").is_file() else None


def explain_missing() -> str | None:
    """Why tests with a FaceFusion cannot run here; None if they can."""
    if find_checkout() is None:
        return f"no FaceFusion checkout ({PATH_VARIABLE}, ~/facefusion)"
    lacking = [name for name in HOST_MODULES if importlib.util.find_spec(name) is None]
    if lacking:
        return f"FaceFusion's requirements are not installed: {', '.join(lacking)}"
    for command in ("ffmpeg", "ffprobe", "curl"):
        if not shutil.which(command):
            return f"{command} is not installed"
    if find_bench() is None:
        return f"no offline bench ({BENCH_VARIABLE}, ../shared/bench)"
    return None


def create_fake_checkout(path: Path, version: str = "3.8.1") -> Path:
    """A folder that looks like a FaceFusion from outside."""
    (path / "facefusion" / "processors" / "modules").mkdir(parents=True)
    (path / "facefusion" / "uis" / "layouts").mkdir(parents=True)
    (path / "facefusion.py").write_text("")
    (path / "facefusion" / "processors" / "modules" / "__init__.py").write_text("")
    (path / "facefusion" / "uis" / "layouts" / "default.py").write_text("")
    (path / "facefusion" / "metadata.py").write_text(
        "METADATA =\\\n{\n\t'name': 'FaceFusion',\n\t'version': '" + version + "'\n}\n"
    )
    return path


def furnish(checkout: Path, target: Path) -> Path:
    """Copy a checkout to `target` with small stand-in models, so that it runs offline."""
    bench = find_bench()
    assert bench is not None
    options = ["--init", "passthrough", "--width", NARROW]
    subprocess.run(
        [sys.executable, "furnish.py", str(checkout), str(target), *options],
        cwd=bench,
        check=True,
        capture_output=True,
        env=create_environment(target),
    )
    # FaceFusion up to 3.6 checks this file's hash at every run; nothing here loads it
    voice_extractor = target / ".assets" / "models" / "kim_vocal_2.onnx"
    voice_extractor.write_bytes(b"stand-in")
    hash_path(voice_extractor).write_text(f"{zlib.crc32(b'stand-in'):08x}")
    return target


def furnish_like(checkout: Path, furnished: Path, target: Path) -> Path:
    """Copy another checkout to `target`, with the stand-in models of a furnished one."""
    left_out = shutil.ignore_patterns(".git", ".assets", ".caches", ".jobs", "__pycache__")
    shutil.copytree(checkout, target, ignore=left_out)
    shutil.copytree(furnished / ".assets", target / ".assets")
    (target / BENCH_MARKER).touch()
    return target


def find_footage(person: str, name: str) -> Path:
    """A clip of the bench."""
    bench = find_bench()
    assert bench is not None
    return bench / "footage" / person / name


def extract_frame(video: Path, seconds: float, image: Path) -> Path:
    """Write the frame at that time to `image`."""
    seek = ["-ss", str(seconds), "-i", str(video)]
    command = ["ffmpeg", "-v", "error", *seek, "-frames:v", "1", str(image)]
    subprocess.run(command, check=True)
    return image


def create_environment(folder: Path, **variables: str) -> dict[str, str]:
    """Environment of a FaceFusion command whose temporary files go beside `folder`."""
    temporary = folder.parent / f"{folder.name}-temporary"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(temporary), **variables}


def run_python(host: Path, *arguments: object, **variables: str) -> Result:
    """Run Python in the folder of a FaceFusion.

    Args:
        host: The FaceFusion folder.
        arguments: Of Python.
        variables: Added to the environment.
    """
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=host,
        env=create_environment(host, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANGS,
        check=False,
    )
    return Result(process.returncode, process.stdout)


def run_host(host: Path, *arguments: object, **variables: str) -> Result:
    """Run `facefusion.py` in its folder; arguments as in `run_python`."""
    return run_python(host, "facefusion.py", *arguments, **variables)


def run_processor(host: Path, *arguments: object, **variables: str) -> Result:
    """`headless-run` with the processor `finetuned_swapper` and what the bench needs."""
    return _run_headless(host, "finetuned_swapper", *arguments, **variables)


def run_face_swapper(
    host: Path, *arguments: object, model: str = "inswapper_128", **variables: str
) -> Result:
    """`headless-run` with the host's own face swapper and an untuned base."""
    options = ("--face-swapper-model", model)
    return _run_headless(host, "face_swapper", *options, *arguments, **variables)


def _run_headless(host: Path, processor: str, *arguments: object, **variables: str) -> Result:
    # FaceFusion names its jobs by the second, and two short runs would get the same name
    with TemporaryDirectory() as jobs:
        return run_host(
            host,
            *("headless-run", "--processors", processor, "--jobs-path", jobs),
            *BENCH_OPTIONS,
            *arguments,
            **variables,
        )


def create_startup_folder(folder: Path, code: str) -> dict[str, str]:
    """Environment in which every Python runs `code` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    former = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([former] if former else [])])}


def create_card(host: Path, person: str, version: int) -> ModelCard:
    """A card for a copy of the bench's inswapper_128."""
    base = host / ".assets" / "models" / "inswapper_128.onnx"
    return ModelCard(
        person=person,
        version=version,
        base_name="inswapper_128",
        base_sha256=hashlib.sha256(base.read_bytes()).hexdigest(),
        base_vendor="InsightFace",
        base_licence="Non-Commercial",
        type="inswapper",
        template="arcface_128",
        size=(128, 128),
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        person_vector=tuple(map(float, draw_direction(5))),
        consent_digest="0" * 64,
        dataset_digest="0" * 64,
        preset="none",
        package_version="0",
        created="2025-01-01T00:00:00+00:00",
        judge_result={},
    )


def register_model(
    host: Path, person: str, version: int = 1, turned: bool = False, **changes: object
) -> Path:
    """Put an untrained copy of inswapper_128 where the processor finds it.

    Args:
        host: The furnished FaceFusion.
        person: Whose model it says it is.
        version: Its version.
        turned: Take the opposite vector, to tell two models apart by their pictures.
        changes: Other entries of the card.

    Returns:
        The model file.
    """
    card = create_card(host, person, version)
    if turned:
        card = replace(card, person_vector=tuple(-number for number in card.person_vector))
    card = replace(card, **changes)  # type: ignore[arg-type]
    return write_model(host, card, onnx.load(host / ".assets" / "models" / "inswapper_128.onnx"))


def write_model(host: Path, card: ModelCard, model: onnx.ModelProto) -> Path:
    """Write a model with its card and hash where the processor finds it."""
    onnx.helper.set_model_props(model, encode_metadata(card))
    directory = models_directory(host)
    directory.mkdir(parents=True, exist_ok=True)
    path = model_path(directory, card.person, card.version)
    path.write_bytes(model.SerializeToString())
    write_hash(path)
    card_path(path).write_text(encode_card(card))
    return path


def write_hash(path: Path) -> None:
    """Write the crc32 FaceFusion would expect beside the file."""
    hash_path(path).write_text(f"{zlib.crc32(path.read_bytes()):08x}")


def list_files(folder: Path, without: Sequence[str] = ("__pycache__",)) -> Mapping[str, str]:
    """Digest of every file in the folder, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not set(without) & set(path.parts)
    }
