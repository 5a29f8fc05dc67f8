"""Linked models in the home, and where their bases come from."""

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

LEAST_SAVING = 0.1
"""Share of the base's bytes that has to be frozen for a link to be worth a second file."""


def write_run_model(
    base: ModelFile,
    base_sha256: str,
    base_name: str,
    path: Path,
    weights: Weights,
    metadata: Mapping[str, str],
) -> str | None:
    """Write a tuned model into a run's folder, linked to its base where that saves room.

    The base's bytes are kept once for all runs: the home's `bases` and the run's folder have hard
    links to the file the base was opened from, or copies where there can be none. The model comes
    last; on failure nothing of it is left.

    Args:
        base: The base, opened; with branches where it was given some.
        base_sha256: Of the base file.
        base_name: As the model's card has it.
        path: The model, in an existing folder inside the home.
        weights: What was tuned.
        metadata: The card's entries.

    Returns:
        None for a linked file, else why it holds all weights itself.

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


def write_again(
    model: ModelFile, base_path: Path | None, card: ModelCard, path: Path
) -> str | None:
    """Write a tuned model with another card: linked where its base is here and fits, else plain.

    Args:
        model: The tuned model, opened.
        base_path: Its base, where that is on this machine.
        card: What it carries from now on.
        path: Where to, in a folder inside the home; may be the model's own file.

    Returns:
        None for a linked file, else why it holds all weights itself.

    Raises:
        As `write_run_model`.
    """
    metadata = encode_metadata(card)
    if base_path is None:
        save_model(model, path, metadata=metadata)
        return "A base with its frozen weights is not on this machine, so the model holds all."
    base = open_model(base_path)
    # A base may have branches itself; they are tuned as its other layers are.
    split = None if _is_same_graph(model, base) else split_branches(model)
    if not _is_same_graph(split.base if split else model, base):
        save_model(model, path, metadata=metadata)
        return "Its graph is not its base's, so the model holds all weights."
    weights = {
        name: model.read_tensor(name) for name in base.tensors if not _is_frozen(model, base, name)
    }
    if split is not None:
        base = extend_model(base, split.additions)
    return write_run_model(
        base, card.base_sha256, card.base_name, path, cast(Weights, weights), metadata
    )


def check_graph(model: ModelFile, card: ModelCard) -> None:
    """Check that a model is its base's graph, at most with branches as they are made here.

    Of a plain file only the branches are checked, since its base need not be here.

    Args:
        model: A tuned model, opened; the base of a linked one lies beside it.
        card: Of the model.

    Raises:
        SwapperError: Its graph is another one, or its branches are damaged.
    """
    plain = remove_branches(model)
    if not model.is_linked:
        return
    base = open_model(model.path.parent / name_base(card.base_name, card.base_sha256))
    if not (_is_same_graph(plain, base) or _is_same_graph(model, base)):
        raise SwapperError(
            str(model.path),
            f"its graph is not that of {card.base_name}, which it is linked to: it has nodes or"
            " weights of its own.",
            "Use the file as it was written.",
        )


def release_home_bases() -> list[Path]:
    """Remove bases that no run of any person needs.

    Returns:
        The files that were removed.
    """
    needed = {path.name for path in home.people_directory().glob(f"*/runs/*/*{SUFFIX}")}
    unused = [path for path in bases_directory().glob(f"*{SUFFIX}") if path.name not in needed]
    for path in unused:
        path.unlink(missing_ok=True)
    return unused


def restore_base(
    path: Path, card: ModelCard, directory: Path, folders: Iterable[Path], hard_links: bool = False
) -> None:
    """Make sure that the base of a linked model lies in a folder.

    Args:
        path: The model; for a plain one there is nothing to do.
        card: Of the model.
        directory: Where the base has to lie.
        folders: Where it may be found.
        hard_links: See `linked.place_base`.

    Raises:
        RegistryError: The base is on this machine in none of the folders.
        OSError: It cannot be written, for example because the disk is full.
    """
    links = read_links(path)
    wanted = directory / name_base(card.base_name, card.base_sha256)
    if not links.locations or holds_base(wanted, card.base_sha256, hard_links):
        return
    folders = list(folders)
    found = find_base(card.base_sha256, card.base_name, links.sizes, folders)
    if found is None:
        looked_at = ", ".join(dict.fromkeys(str(folder) for folder in folders))
        raise RegistryError(
            f"model {card.name!r}",
            f"it is linked to {card.base_name} of the sha256 {card.base_sha256}, and no such file"
            f" is in {looked_at}.",
            f"Let FaceFusion download {card.base_name} (run it once with it), then try again; or"
            " have the model exported with --standalone.",
        )
    place_base(found, card.base_sha256, card.base_name, directory, hard_links)


def _explain_plain(base: ModelFile, weights: Weights) -> str | None:
    """Why a file tuned so is not worth linking; None if it is."""
    if base.is_linked:
        return "The base is linked itself, so the model holds all weights."
    frozen = sum(
        stored.payload.length
        for stored in list(base.tensors.values())[:-1]
        if stored.payload is not None
        and stored.payload.length >= MIN_LINKED_BYTES
        and stored.name not in weights
    )
    if frozen < LEAST_SAVING * base.size:
        return "Nearly all weights were tuned, so the model holds all of them."
    return None


def _is_same_graph(model: ModelFile, base: ModelFile) -> bool:
    def describe(file: ModelFile) -> list[object]:
        graph = file.skeleton.graph
        parts = [graph.node, graph.input, graph.output, file.skeleton.opset_import]
        tensors = [(entry.name, entry.dims, entry.data_type) for entry in file.tensors.values()]
        return [*([item.SerializeToString() for item in part] for part in parts), tensors]

    return describe(model) == describe(base)


def _is_frozen(model: ModelFile, base: ModelFile, name: str) -> bool:
    """Whether a tensor has the base's bytes; where it lies in the base, it need not be read."""
    payload, original = model.tensors[name].payload, base.tensors[name].payload
    if payload and original and payload.path != model.path and payload.offset == original.offset:
        return True
    return model.read_tensor(name).tobytes() == base.read_tensor(name).tobytes()
