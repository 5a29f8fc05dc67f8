"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_tune_from_python(tmp_path: Path) -> None:
    script = EXAMPLES / "tune_from_python.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, sentence, model = done.stdout.splitlines()[-3:]
    assert first == "36 crops of 12 shots"
    assert "footage it has never seen" in sentence
    assert Path(model).is_file()
