"""Benchmarks that are made for a GPU run at a tiny size on a CPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--tiny", "--out", tmp_path]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    rows = {name: section["rows"] for name, section in results.items()}
    assert results["codecs"]["about"]["device"].startswith("CPU")
    assert re.match(r"8 (skipped|passed)", rows["tests"][0]["tests"])
    tasks = {(row["task"], row["model"]) for row in rows["codecs"]}
    assert ("decode 5x32x32", "Wan 2.2") in tasks
    assert all(row["seconds"] > 0 for row in rows["codecs"])
    for name in ("autoencoder", "stills", "transformer", "loader"):
        assert all(row["clips_per_second"] > 0 for row in rows[name])
    subprocess.run([*command, "--only", "stills"], check=True)
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["loader"] == results["loader"], "what was measured before stays"
    assert "## Waiting for videos" in (tmp_path / "table.md").read_text()
