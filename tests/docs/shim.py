"""Programs as pages call them, at sizes that take seconds: ``shim.py NAME WORDS...``."""

import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PORT = 18_607
SMALL_VAE = (
    "--steps 2 --batch-size 1 --warmup-steps 1 --model.base-channels 8 --model.z-dim 4"
    " --clip.frames 9 --clip.height 32 --clip.width 32"
)
SHORT = {
    "train tiny": SMALL_VAE,
    "train tiny-baseline": SMALL_VAE,
    "train film": "--steps 2 --batch-size 1 --warmup-steps 1 --clip.frames 9 --clip.height 32 --clip.width 32",
    "train small": "--dry-run",
    "train ssvae-256p": "--dry-run",
    "train ssvae-512p-decoder": "--dry-run",
    "train adapt": "--steps 2 --warmup-steps 1 --clip.frames 9 --clip.height 32 --clip.width 32"
    " --perceptual.weight 0 --validation.every 0",
    "train distil": "--steps 2 --batch-size 1 --warmup-steps 1 --clip.frames 9 --clip.height 32 --clip.width 32",
    "cache-latents": "--clips 4 --frames 9 --size 32 32",
    "train-diffusion dit-tiny": "--steps 2 --batch-size 2 --warmup-steps 1 --cooldown-steps 0",
    "generate": "--steps 2 -n 1",
    "analyze": "--clips 4 --frames 9 --size 32 32",
    "stats": "--clips 2 --frames 9 --size 32 32",
    "evaluate reconstruction": "--clips 4 --frames 9 --size 32 32",
    "evaluate drift": "--clips 2 --frames 9 --size 32 32 --rounds 2",
}
"""Options that are added to commands of these first words; of an option that is given twice the
last counts."""
WITHOUT = {"evaluate reconstruction --originals": "--frames 9"}


def main() -> None:
    name, *words = sys.argv[1:]
    if name == "torchrun" and "ssvae" not in words:  # a script of the reader's
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words]
        sys.exit(subprocess.run(command, check=False).returncode)
    if name in ("torchrun", "accelerate"):  # one process stands for several
        words = words[words.index("ssvae") + 1 :]
        name = "ssvae"
    if name == "sbatch":  # a script that trains by the words behind its name
        subprocess.run(["bash", "-n", ROOT / words[0]], check=True)
        name, words = "ssvae", ["train", *words[1:]]
    if name == "ssvae":
        ssvae(words)
    elif name == "pip":
        extras(words)
    elif name == "make":
        targets = [word for word in words if "=" not in word]
        raise SystemExit(
            subprocess.call(["/usr/bin/make", "-n", *targets], cwd=ROOT, stdout=subprocess.DEVNULL)
        )
    elif name == "python3" and words[:2] != ["-m", "venv"]:
        os.execv(sys.executable, [sys.executable, *words])


def ssvae(words: list[str]) -> None:
    """Run a command, shortened; a page that is served until it answers."""
    program = str(BIN / "ssvae")
    if words[0] == "app":
        served([program, *words, "--port", str(PORT)])
        return
    added = next((SHORT[" ".join(words[:n])] for n in (2, 1) if " ".join(words[:n]) in SHORT), "")
    added = next((WITHOUT[key] for key in WITHOUT if " ".join(words).startswith(key)), added)
    for option in ("-n", "--figure"):  # keep what the page gives where it costs nothing
        if option in words and option in added.split():
            place = words.index(option)
            del words[place : place + 2]
    os.execv(program, [program, *words, *added.split()])


def served(command: list[str]) -> None:
    """Start a server, wait until it answers, and stop it."""
    process = subprocess.Popen(command)
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise SystemExit(f"the page ended by itself: {process.returncode}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.5)
        raise SystemExit("the page did not answer")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def extras(words: list[str]) -> None:
    """Nothing is installed, but an extra that is asked for must be one of the package's."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if "[" in word:
            for extra in word.partition("[")[2].rstrip("]").split(","):
                if extra not in known:
                    raise SystemExit(f"there is no extra {extra}")


main()
