"""Who imports whom in a package, by the text of its modules, and which arrows must not be."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import networkx

FOLDERS: tuple[tuple[str, ...], ...] = (
    ("errors", "locks", "temporary", "home", "damage"),
    ("people",),
    ("presets",),
    ("host",),
    ("swappers",),
    ("inspection",),
    ("faces",),
    ("dataset",),
    ("runs",),
    ("registry",),
    ("evaluation",),
    ("training",),
    ("demo",),
    ("analysers",),
    ("jobs",),
    ("privacy",),
    ("api",),
    ("facefusion", "cli"),
)
"""From the ground up; what stands in one row does not import each other, the first row excepted. A
folder imports only what stands above it."""

ONLY: Mapping[str, tuple[str, ...]] = {
    "facefusion": ("host", "faces.facefusion", "facefusion"),
    "onnx2torch": ("swappers.convert",),
    "gradio": ("facefusion.uis",),
    "insightface": ("faces.insightface", "faces.insightface_pack"),
}
"""A module from elsewhere, and the only parts of the package that may import it."""

Arrow = tuple[str, str]
"""Importing module, imported module; both with the package's name."""


def read_arrows(root: Path) -> set[Arrow]:
    """All imports in a package's modules, those inside functions and for type checkers too.

    Args:
        root: The package's folder. What it imports from elsewhere is named by its first part.
    """
    modules = {_name(path, root): path for path in root.rglob("*.py")}
    return {
        (module, target)
        for module, path in modules.items()
        for target in _read_targets(ast.parse(path.read_text("utf-8")), modules, root.name)
    }


def find_upward(arrows: Iterable[Arrow], package: str) -> list[Arrow]:
    """Imports of a folder that stands beside or below the importing one, sorted."""
    ranks = {name: rank for rank, row in enumerate(FOLDERS) for name in row}
    ground = set(FOLDERS[0])
    found = []
    for module, target in arrows:
        first, second = (_folder(name, package) for name in (module, target))
        if None in (first, second) or first == second or {first, second} <= ground:
            continue
        if ranks[str(second)] >= ranks[str(first)]:
            found.append((module, target))
    return sorted(found)


def find_strangers(arrows: Iterable[Arrow], package: str) -> list[Arrow]:
    """Imports of modules from elsewhere by parts of the package that may not import them."""
    return sorted(
        (module, target)
        for module, target in arrows
        if target in ONLY
        and not any(f"{module}.".startswith(f"{package}.{allowed}.") for allowed in ONLY[target])
    )


def find_circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Groups of modules that import each other in a circle."""
    parts = networkx.strongly_connected_components(networkx.DiGraph(list(arrows)))
    return sorted(sorted(part) for part in parts if len(part) > 1)


def list_folders(root: Path) -> set[str]:
    """Folders and modules directly in a package."""
    names = {path.stem for path in root.glob("*.py")} | {
        path.parent.name for path in root.glob("*/__init__.py")
    }
    return {name for name in names if not name.startswith("__")}


def _name(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _folder(module: str, package: str) -> str | None:
    """The part of the package a module belongs to; None for the package itself and others."""
    parts = module.split(".")
    is_inside = parts[0] == package and len(parts) > 1 and not parts[1].startswith("__")
    return parts[1] if is_inside else None


def _read_targets(tree: ast.AST, modules: Mapping[str, Path], package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                is_own = alias.name.split(".")[0] == package
                yield alias.name if is_own else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] != package:
                yield node.module.split(".")[0]
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
