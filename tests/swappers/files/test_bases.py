"""Base files: copied whole with the right digest, found, named; links read without opening them."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from facefusion_finetune.errors import RegistryError
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.files import bases
from facefusion_finetune.swappers.files.bases import (
    check_base,
    digest_file,
    find_base,
    name_base,
    place_base,
)
from facefusion_finetune.swappers.files.metadata import MAX_ENTRIES, MAX_ENTRY, read_links
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from tests.support.forked import ForkServer
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_card, list_names, move_weights

CONTENT = bytes(range(256)) * 40_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.onnx"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def digest(source: Path) -> str:
    return digest_file(source)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inswapper_128", "inswapper_128-0123456789abcdef.base"),
        ("../../etc/x y", "_.._etc_x_y-0123456789abcdef.base"),
        ("...", "base-0123456789abcdef.base"),
        ("ä" * 100, "_" * 64 + "-0123456789abcdef.base"),
        ("a\n\x1b[31m", "a___31m-0123456789abcdef.base"),
    ],
)
def test_name_of_a_base_is_a_plain_file_name(name: str, expected: str) -> None:
    assert name_base(name, "0123456789abcdef" + "0" * 48) == expected


def test_copy_is_whole_private_and_a_file_of_its_own(
    source: Path, digest: str, folder: Path
) -> None:
    placed = place_base(source, digest, "x", folder)
    assert placed == folder / f"x-{digest[:16]}.base"
    assert placed.read_bytes() == CONTENT
    assert placed.stat().st_nlink == 1
    assert placed.stat().st_mode & 0o077 == 0
    assert list_names(folder) == [placed.name]


@pytest.mark.parametrize("error", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_system_that_cannot_copy_by_itself(
    source: Path, digest: str, folder: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    real = os.copy_file_range

    def fail(origin: int, target: int, count: int) -> int:
        if os.fstat(target).st_size:
            raise OSError(error, "no")
        return real(origin, target, 1000)

    monkeypatch.setattr(os, "copy_file_range", fail)
    assert place_base(source, digest, "x", folder).read_bytes() == CONTENT
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    (folder / f"x-{digest[:16]}.base").unlink()
    assert place_base(source, digest, "x", folder).read_bytes() == CONTENT
    monkeypatch.delattr(os, "copy_file_range")
    (folder / f"x-{digest[:16]}.base").unlink()
    assert place_base(source, digest, "x", folder).read_bytes() == CONTENT


@pytest.mark.parametrize("hard_links", [False, True])
def test_wrong_source_is_refused_and_leaves_nothing(
    source: Path, folder: Path, hard_links: bool
) -> None:
    with pytest.raises(RegistryError, match="required base has aaaaaaaaaaaaaaaa"):
        place_base(source, "a" * 64, "x", folder, hard_links)
    assert list_names(folder) == []
    assert source.read_bytes() == CONTENT


@pytest.mark.parametrize("hard_links", [False, True])
@pytest.mark.parametrize("former", ["wrong", "right", "symlink", "hard link"])
def test_what_lies_there_is_not_trusted(
    source: Path, digest: str, folder: Path, former: str, hard_links: bool
) -> None:
    path = folder / f"x-{digest[:16]}.base"
    if former == "symlink":
        path.symlink_to(source)
    elif former == "hard link":
        os.link(source, path)
    else:
        path.write_bytes(CONTENT if former == "right" else bytes(len(CONTENT)))
    inode = path.lstat().st_ino
    assert place_base(source, digest, "x", folder, hard_links) == path
    assert path.read_bytes() == CONTENT
    assert source.read_bytes() == CONTENT
    assert not path.is_symlink()
    assert hard_links or path.stat().st_nlink == 1
    is_kept = former == "right" or (former == "hard link" and hard_links)
    assert is_kept == (path.stat().st_ino == inode)
    assert list_names(folder) == [path.name]


def test_hard_link_of_a_linked_source(
    source: Path, digest: str, folder: Path, tmp_path: Path
) -> None:
    """A hard link to a symbolic link would be a symbolic link."""
    (tmp_path / "alias.onnx").symlink_to(source)
    placed = place_base(tmp_path / "alias.onnx", digest, "x", folder, hard_links=True)
    assert not placed.is_symlink()
    assert os.path.samefile(placed, source)


def test_base_beside_active_models_gets_no_second_name(
    source: Path, digest: str, folder: Path, tmp_path: Path
) -> None:
    active = place_base(source, digest, "x", folder)
    (tmp_path / "run").mkdir()
    place_base(active, digest, "x", tmp_path / "run", hard_links=True)
    assert active.stat().st_nlink == 1


def test_full_disk(source: Path, digest: str, folder: Path, fork_server: ForkServer) -> None:
    """A real limit on file sizes, in a process of its own, stands for the full disk."""
    code = f"""
import resource, signal
from pathlib import Path
from facefusion_finetune.swappers.files import bases
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
try:
    bases.place_base(Path({str(source)!r}), {digest!r}, "x", Path({str(folder)!r}))
except OSError as error:
    print(error)
"""
    done = fork_server.run(code)
    assert "File too large" in done.stdout, done.stderr
    assert list_names(folder) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_find_reads_only_files_of_a_possible_size(
    source: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("a.onnx", "x.onnx", "large.onnx", "small.onnx", "same.txt"):
        size = {"large.onnx": 20_000_000, "small.onnx": 10}.get(name, len(CONTENT))
        (models / name).write_bytes(CONTENT if name == "x.onnx" else bytes(size))
    (models / "loop.onnx").symlink_to(models / "loop.onnx")
    (models / "folder.onnx").mkdir()
    read = []
    real = digest_file
    monkeypatch.setattr(bases, "digest_file", lambda path: read.append(path.name) or real(path))
    sizes = range(len(CONTENT), len(CONTENT) + 100)
    places = [tmp_path / "nowhere", models]
    assert find_base(digest, "x", sizes, places) == models / "x.onnx"
    assert read == ["x.onnx"]
    read.clear()
    assert find_base(digest, "y", sizes, places) == models / "x.onnx"
    assert read == ["a.onnx", "x.onnx"]
    assert find_base("0" * 64, "x", sizes, places) is None


def test_digest_is_calculated_once_and_again_after_a_change(
    source: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = Path.open

    def watch(path: Path, *arguments: object) -> object:
        opened.append(path)
        return real(path, *arguments)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", watch)
        assert digest_file(source) == digest
    assert opened == []
    status = source.stat()
    source.write_bytes(CONTENT[::-1])
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_file(source) != digest


def test_links_are_read_without_the_base(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "demo.onnx")
    base = open_model(options.path)
    card = create_card("ada", 1, options)
    path = tmp_path / "model.onnx"
    save_model(base, path, move_weights(base), encode_metadata(card), link="nowhere.base")
    links = read_links(path)
    assert links.locations == {"nowhere.base"}
    assert links.metadata == encode_metadata(card)
    assert base.size in links.sizes
    assert read_links(options.path).locations == frozenset()
    with pytest.raises(RegistryError, match=r"are in \['nowhere.base'\], but its card names"):
        check_base(path)
    check_base(options.path)


def test_links_agree_with_onnx(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "demo.onnx")
    save_model(open_model(options.path), tmp_path / "m.onnx", metadata={"a": "é"}, link="b.base")
    model = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    assert read_links(tmp_path / "m.onnx").metadata == {"a": "é"}
    expected = max(
        int(entry.value) + int(next(e.value for e in tensor.external_data if e.key == "length"))
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    )
    assert read_links(tmp_path / "m.onnx").sizes.start == expected


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "pipe").symlink_to("nothing")
    os.mkfifo(tmp_path / "fifo")
    model = onnx.ModelProto()
    for number in range(MAX_ENTRIES + 1):
        model.metadata_props.add(key=str(number))
    long = onnx.ModelProto()
    long.metadata_props.add(key="a", value="x" * (MAX_ENTRY + 1))
    place = onnx.ModelProto()
    entry = place.graph.initializer.add().external_data.add()
    entry.key, entry.value = "offset", "nine"
    broken = b"\x72\x04\x0a\x02\xff\xff"  # metadata_props whose key is no UTF-8
    cases = {
        "empty": b"",
        "garbage": b"\xff" * 100,
        "many": model.SerializeToString(),
        "long": long.SerializeToString(),
        "place": place.SerializeToString(),
        "text": broken,
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name in [*cases, "pipe", "fifo", "missing", "."]:
        with pytest.raises(RegistryError, match="the model cannot be read"):
            read_links(tmp_path / name)


def test_no_torch_inside_facefusion() -> None:
    code = (
        "import sys; import facefusion_finetune.swappers.files.bases\n"
        "assert not {'torch', 'onnxruntime', 'pydantic', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
