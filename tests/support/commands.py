"""Commands of the package, run in the tests' own process."""

import sys

import pytest

from facefusion_finetune.cli import main

Result = tuple[int, str, str]
"""Exit code, what was printed, what was said on stderr."""


def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> Result:
    """Run `facefusion-finetune` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["facefusion-finetune", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    code = ended.value.code
    return int(code) if isinstance(code, int) else 0, captured.out, captured.err
