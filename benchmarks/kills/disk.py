"""What a disk holds, compared without times."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

IGNORED = {"__pycache__"}


def describe(folder: Path) -> dict[str, str]:
    """What of a folder must be the same after an undisturbed and a repeated command, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not IGNORED & set(path.relative_to(folder).parts):
            found[name] = "folder" if path.is_dir() else digest(path)
    return found


def digest(path: Path) -> str:
    """A digest of a file's content without times; says so if the file is damaged."""
    content = path.read_bytes()
    try:
        content = _strip_times(path, content)
    except Exception as error:
        return f"damaged ({error})"
    return hashlib.sha256(content).hexdigest()


def _strip_times(path: Path, content: bytes) -> bytes:
    if path.suffix == ".safetensors":
        return json.dumps(dict(read_checkpoint(path)), sort_keys=True).encode()
    if path.suffix == ".onnx" and path.parent.parent.name == "runs":
        return json.dumps(dict(read_model(path)), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        for line in lines:
            line.pop("seconds", None)
        return "\n".join(sorted(json.dumps(line) for line in lines)).encode()
    if path.suffix in {".json", ".toml", ".html"}:
        return re.sub(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", b"", content)
    return content


def read_checkpoint(path: Path) -> Iterator[tuple[str, str]]:
    """Digests of a checkpoint's tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            yield key, hashlib.sha256(file.get_tensor(key).tobytes()).hexdigest()


def read_model(path: Path) -> Iterator[tuple[str, str]]:
    """Digests of a model's weights."""
    from facefusion_finetune.swappers.files.modelfile import open_model

    model = open_model(path)
    for name in model.tensors:
        yield name, hashlib.sha256(model.read_tensor(name).tobytes()).hexdigest()


def compare(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """How two descriptions differ."""
    return [
        *(f"left behind: {name}" for name in sorted(found.keys() - expected.keys())),
        *(f"missing: {name}" for name in sorted(expected.keys() - found.keys())),
        *(
            f"differs: {name}"
            for name in sorted(expected.keys() & found.keys())
            if expected[name] != found[name]
        ),
    ]
