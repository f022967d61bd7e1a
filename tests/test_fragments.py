import subprocess
import sys
from pathlib import Path

import pytest

from tools import regularizer_fragments
from tools.fragments import renewed, stale


def test_what_is_generated_is_fresh():
    """``python -m tools.fragments`` writes it anew."""
    assert [str(path) for path, _ in stale()] == []


def test_an_unknown_fragment_is_told():
    with pytest.raises(ValueError, match="no fragment is called nothing: .*study.variants"):
        renewed("<!-- fragment nothing -->\n<!-- end -->\n")


def test_exports_are_read_and_not_imported(tmp_path, monkeypatch):
    """So that a file that is gone does not keep them from being written."""
    (tmp_path / "one.py").write_text('import nowhere\n\n__all__ = ["b", "A"]\n')
    (tmp_path / "two.py").write_text("x = 1\n")
    monkeypatch.setattr(regularizer_fragments, "FOLDER", tmp_path)
    made = regularizer_fragments.exports()
    assert made.startswith("from ssvae.regularizers.one import A, b\n")
    assert "two" not in made
    code = "import sys, tools.fragments; print('ssvae.regularizers' in sys.modules)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
