"""Writes models in the home linked to their bases, and provides the bases."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from facefusion_finetune import home
from facefusion_finetune.errors import RegistryError, SwapperError
from facefusion_finetune.swappers.branches.split import remove_branches, split_branches
from facefusion_finetune.swappers.card import ModelCard, encode_metadata
from facefusion_finetune.swappers.files.bases import (
    SUFFIX,
    bases_directory,
    find_base,
    holds_base,
    name_base,
    place_base,
)
from facefusion_finetune.swappers.files.metadata import read_links
from facefusion_finetune.swappers.files.modelfile import ModelFile, extend_model, open_model
from facefusion_finetune.swappers.files.writeback import MIN_LINKED_BYTES, Weights, save_model

MIN_SAVING = 0.1
"""Minimum share of the base's bytes that must be frozen for linking."""


def write_run_model(
    base: ModelFile,
    base_sha256: str,
    base_name: str,
    path: Path,
    weights: Weights,
    metadata: Mapping[str, str],
) -> str | None:
    """Write a tuned model to a run's folder, linked to its base if that saves disk space.

    The base's bytes are stored once for all runs: the home's `bases` and the run's folder have hard
    links to the opened base file, or copies if links are not supported. The model is written last;
    on failure, nothing of it is left.

    Args:
        base: The opened base, including branches if the run added any.
        base_sha256: sha256 of the base file.
        base_name: Name of the base, as in the model's card.
        path: Path of the model, in an existing folder inside the home.
        weights: The tuned weights.
        metadata: The card's entries.

    Returns:
        None for a linked file, otherwise the reason why it contains all weights.

    Raises:
        SwapperError: The weights do not fit the base.
        RegistryError: The base file has changed since its digest was taken.
        OSError: A file cannot be written, for example because the disk is full.
    """
    note = _explain_plain(base, weights)
    if note is not None:
        save_model(base, path, weights, metadata)
        return note
    name = name_base(base_name, base_sha256)
    kept = bases_directory() / name
    beside = path.parent / name
    is_new = not beside.exists()
    try:
        home.create_private_directory(kept.parent)
        source = kept if holds_base(kept, base_sha256, hard_links=True) else base.path
        place_base(source, base_sha256, base_name, path.parent, hard_links=True)
        place_base(beside, base_sha256, base_name, kept.parent, hard_links=True)
        save_model(base, path, weights, metadata, link=name)
    except BaseException:
        if is_new:
            beside.unlink(missing_ok=True)
        release_home_bases()
        raise
    return None


def rewrite_model(
    model: ModelFile, base_path: Path | None, card: ModelCard, path: Path
) -> str | None:
    """Write a tuned model with a new card, linked if its base is available and matches.

    Args:
        model: The opened tuned model.
        base_path: Its base; None if that is not on this machine.
        card: The new card.
        path: Path to write to, in a folder inside the home; may be the model's own file.

    Returns:
        None for a linked file, otherwise the reason why it contains all weights.

    Raises:
        As `write_run_model`.
    """
    metadata = encode_metadata(card)
    if base_path is None:
        save_model(model, path, metadata=metadata)
        return "Its base is not on this machine, so the model contains all weights."
    base = open_model(base_path)
    # A base may have branches itself; they are tuned like its other layers.
    split = None if _is_same_graph(model, base) else split_branches(model)
    if not _is_same_graph(split.base if split else model, base):
        save_model(model, path, metadata=metadata)
        return "Its graph differs from its base's, so the model contains all weights."
    weights = {
        name: model.read_tensor(name) for name in base.tensors if not _is_frozen(model, base, name)
    }
    if split is not None:
        base = extend_model(base, split.additions)
    return write_run_model(
        base, card.base_sha256, card.base_name, path, cast(Weights, weights), metadata
    )


def check_graph(model: ModelFile, card: ModelCard) -> None:
    """Check that a model's graph is its base's, except for branches added by this package.

    For a standalone file, only the branches are checked, since its base may not be available.

    Args:
        model: An opened tuned model; the base of a linked one is next to it.
        card: The model's card.

    Raises:
        SwapperError: The graph differs, or the branches are damaged.
    """
    plain = remove_branches(model)
    if not model.is_linked:
        return
    base = open_model(model.path.parent / name_base(card.base_name, card.base_sha256))
    if not (_is_same_graph(plain, base) or _is_same_graph(model, base)):
        raise SwapperError(
            str(model.path),
            f"its graph differs from that of {card.base_name}, which it is linked to: it has"
            " additional nodes or weights.",
            "Use the original file.",
        )


def release_home_bases() -> list[Path]:
    """Delete bases in the home that no run of any person needs.

    Returns:
        The deleted files.
    """
    needed = {path.name for path in home.people_directory().glob(f"*/runs/*/*{SUFFIX}")}
    unused = [path for path in bases_directory().glob(f"*{SUFFIX}") if path.name not in needed]
    for path in unused:
        path.unlink(missing_ok=True)
    return unused


def restore_base(
    path: Path, card: ModelCard, directory: Path, folders: Iterable[Path], hard_links: bool = False
) -> None:
    """Provide the base of a linked model in a folder.

    Args:
        path: The model; if it is standalone, nothing is done.
        card: The model's card.
        directory: The folder that must contain the base.
        folders: Folders to search for the base.
        hard_links: See `place_base`.

    Raises:
        RegistryError: The base is in none of the folders.
        OSError: It cannot be written, for example because the disk is full.
    """
    links = read_links(path)
    target = directory / name_base(card.base_name, card.base_sha256)
    if not links.locations or holds_base(target, card.base_sha256, hard_links):
        return
    folders = list(folders)
    found = find_base(card.base_sha256, card.base_name, links.sizes, folders)
    if found is None:
        searched = ", ".join(dict.fromkeys(str(folder) for folder in folders))
        raise RegistryError(
            f"model {card.name!r}",
            f"it is linked to {card.base_name} with sha256 {card.base_sha256}, which is not in"
            f" {searched}.",
            f"Use {card.base_name} once in FaceFusion, which downloads it, then try again; or get"
            " the model exported with --standalone.",
        )
    place_base(found, card.base_sha256, card.base_name, directory, hard_links)


def _explain_plain(base: ModelFile, weights: Weights) -> str | None:
    """Why linking is not worthwhile; None if it is."""
    if base.is_linked:
        return "The base is itself linked, so the model contains all weights."
    frozen = sum(
        stored.payload.length
        for stored in list(base.tensors.values())[:-1]
        if stored.payload is not None
        and stored.payload.length >= MIN_LINKED_BYTES
        and stored.name not in weights
    )
    if frozen < MIN_SAVING * base.size:
        return "Nearly all weights were tuned, so the model contains all of them."
    return None


def _is_same_graph(model: ModelFile, base: ModelFile) -> bool:
    def describe(file: ModelFile) -> list[object]:
        graph = file.skeleton.graph
        parts = [graph.node, graph.input, graph.output, file.skeleton.opset_import]
        tensors = [(entry.name, entry.dims, entry.data_type) for entry in file.tensors.values()]
        return [*([item.SerializeToString() for item in part] for part in parts), tensors]

    return describe(model) == describe(base)


def _is_frozen(model: ModelFile, base: ModelFile, name: str) -> bool:
    """Whether a tensor equals the base's; one stored in the base file is not read."""
    payload, original = model.tensors[name].payload, base.tensors[name].payload
    if payload and original and payload.path != model.path and payload.offset == original.offset:
        return True
    return model.read_tensor(name).tobytes() == base.read_tensor(name).tobytes()
