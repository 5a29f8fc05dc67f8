"""The command `facefusion`: start the linked FaceFusion with the arguments given."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from facefusion_finetune.errors import FinetuneError, HostError
from facefusion_finetune.host.link import is_linked
from facefusion_finetune.host.locate import Host, locate

PATH_OPTIONS = (
    "--source-paths",
    "--target-path",
    "--output-path",
    "--config-path",
    "--temp-path",
    "--jobs-path",
    "--source-pattern",
    "--target-pattern",
    "--output-pattern",
)
SHORT_PATH_OPTIONS = ("-s", "-t", "-o")
LAYOUT_OPTION = "--ui-layouts"

PROCESSOR = "finetuned_swapper"
LAYOUT = "finetune"


def main() -> None:
    """Console command; exits with FaceFusion's exit code, or the error's."""
    arguments = sys.argv[1:]
    try:
        host = locate()
        wanted = find_linked_feature(arguments)
        if wanted and not is_linked(host):
            raise HostError(
                wanted,
                f"the FaceFusion in {host.path} is not linked.",
                f"Run `facefusion-finetune link {host.path}` once.",
            )
    except FinetuneError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(run(host, make_paths_absolute(arguments, Path.cwd())))


def find_linked_feature(arguments: Sequence[str]) -> str | None:
    """The feature in the arguments that only a linked FaceFusion has.

    Returns:
        The processor, also if only one of its options is given, or the layout; None if neither.
    """
    takes_layouts = False
    for argument in arguments:
        if argument == PROCESSOR or argument.startswith("--finetuned-swapper"):
            return PROCESSOR
        value = argument
        if argument.startswith("-"):
            option, value = _split_option(argument)
            takes_layouts = _is_layout_option(option)
        if takes_layouts and value == LAYOUT:
            return LAYOUT
    return None


def make_paths_absolute(arguments: Sequence[str], folder: Path) -> list[str]:
    """Resolve the values of path options against `folder`.

    FaceFusion runs in its own folder, where the user's relative paths would point elsewhere.

    Args:
        arguments: FaceFusion's arguments.
        folder: The user's current folder.
    """
    absolute = []
    takes_path = False
    for argument in arguments:
        if not argument.startswith("-") or argument == "-":
            absolute.append(_make_absolute(argument, folder) if takes_path else argument)
            continue
        option, value = _split_option(argument)
        takes_path = _is_path_option(option)
        if takes_path and value:
            absolute.append(option + _make_absolute(value, folder))
            takes_path = False
        else:
            absolute.append(argument)
    return absolute


def run(host: Host, arguments: Sequence[str]) -> int:
    """Run FaceFusion as a separate process in its own folder, and wait for it.

    It lists its processors relative to the current folder, and may replace its own process.

    Args:
        host: The FaceFusion to start.
        arguments: Its arguments, with absolute paths.

    Returns:
        Its exit code; 128 + signal number if a signal ended it.
    """
    # the terminal also sends Ctrl-C to FaceFusion, which cleans up and exits; raising here could
    # lose its exit code
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    process = subprocess.Popen([sys.executable, "facefusion.py", *arguments], cwd=host.path)
    signal.signal(signal.SIGTERM, lambda _number, _frame: process.terminate())
    code = process.wait()
    return 128 - code if code < 0 else code


def _split_option(argument: str) -> tuple[str, str]:
    """Split `--option=value`, `-o=value` or `-ovalue` before the value."""
    if argument.startswith("--"):
        option, mark, value = argument.partition("=")
        return option + mark, value
    return argument[:2], argument[2:].removeprefix("=")


def _is_path_option(option: str) -> bool:
    """Whether FaceFusion takes `option`, possibly abbreviated, as one with paths."""
    if option in SHORT_PATH_OPTIONS:
        return True
    name = option.removesuffix("=")
    return len(name) > 2 and any(known.startswith(name) for known in PATH_OPTIONS)


def _is_layout_option(option: str) -> bool:
    """Whether FaceFusion takes `option`, possibly abbreviated, as the one with layouts."""
    name = option.removesuffix("=")
    return len(name) > len("--ui-") and LAYOUT_OPTION.startswith(name)


def _make_absolute(value: str, folder: Path) -> str:
    return os.path.abspath(folder / value) if value else value
