"""Locks: seen by others, gone with their process, and never a folder that was not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facefusion_finetune import locks
from tests.support.waiting import HANGS

HOLDER = """
import sys, time
from pathlib import Path
from facefusion_finetune import locks
with locks.hold(Path(sys.argv[1])) as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


def test_held_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    with locks.hold(path) as is_ours:
        assert is_ours
        assert locks.is_held(path)
        with locks.hold(path) as is_ours_too:
            assert not is_ours_too
    assert not locks.is_held(path)
    with locks.hold(path) as is_ours:
        assert is_ours


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert locks.is_held(path)
        with locks.hold(path, seconds=0.1) as is_ours:
            assert not is_ours
        process.send_signal(signal.SIGKILL)
        with locks.hold(path, seconds=HANGS) as is_ours:
            assert is_ours


def test_no_folder_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "lock"
    assert not locks.is_held(path)
    with pytest.raises(FileNotFoundError), locks.hold(path):
        pass
    assert not path.parent.exists()
