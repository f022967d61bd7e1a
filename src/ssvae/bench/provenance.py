"""What a result was made with."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def provenance(
    device: str = "cpu", dtype: str = "float32", compiled: bool = False
) -> dict[str, Any]:
    """Processor, threads, number format, versions, and the commit where this is a checkout."""
    cuda = torch.cuda.is_available() and device != "cpu"
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "processor": torch.cuda.get_device_name() if cuda else f"{processor()}, {capability}",
        "threads": torch.get_num_threads(),
        "dtype": dtype,
        "compiled": compiled,
        "ssvae": version("ssvae"),
        "torch": torch.__version__,
        "commit": commit_of(Path(__file__).parents[1]),
    }


def commit_of(path: Path, *others: Path) -> str | None:
    """The commit of the checkout that a path is in, with a + where its files differ; else None.

    ``others`` are further files and folders of the checkout that count.
    """
    folder = path if path.is_dir() else path.parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        top = git("rev-parse", "--show-toplevel")
        if not (Path(top) / "src" / "ssvae").is_dir():  # installed inside some other checkout
            return None
        changed = git("status", "--porcelain", "--", *map(str, (path, *others)))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
