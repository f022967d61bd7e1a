"""What the models ask of a GPU, counted on a machine that has none.

    python benchmarks/gpu_counted.py --emulation DIR --built DIR [--only NAME ...] [--out DIR]

The first folder holds an emulation of a GPU: a script ``run BUILT SCRIPT ...`` that starts Python
under a CUDA build of torch whose kernels compute nothing, and a package ``emulation`` with
``counting(answers, compiled) -> ledger``; the second is what it was built into.

Counted are launches of kernels, bytes that operators read and write (each tensor once), operations,
where the host waits, and the peak of memory. ``least ms`` is the sum over calls of the longer of
their operations at 500 TFLOP/s and their bytes at 2.6 TB/s: a bound, not a time. No seconds are
measured here. What torch.compile leaves is counted by its kernels' arguments, in a table of its
own, with the launches that belong to no line of it. docs/scaling.md shows both
(``python -m tools.fragments`` after this).
"""

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssvae.bench.provenance import commit_of
from ssvae.latents import CacheConfig, write_cache
from ssvae.losses import LPIPS
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.finding import find_vae
from ssvae.recipes import DIFFUSION_RECIPES, RECIPES
from ssvae.storage.files import read_json, write_json
from ssvae.training import make_accelerator
from ssvae.vae import ValidationConfig, objective
from ssvae.vae.trainer import VAETrainer

TFLOPS, TERABYTES = 500, 2.6
WARM_UP = 2  # steps that allocate and build what the counted one finds there
FOUND = {"training/step.py": True, "data/batch.py": False}
"""What the host reads of memory that holds no values: all is finite, no clip is broken."""


def encode(compiled: bool) -> dict[str, Any]:
    """A clip of the published size by the published model."""
    vae, clip = _published(), torch.empty(1, 3, 17, 256, 256, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        return _counted(lambda: vae.encode(clip), compiled)


def decode(compiled: bool) -> dict[str, Any]:
    """Its latents."""
    vae, latents = _published(), torch.empty(1, 48, 5, 16, 16, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        return _counted(lambda: vae.decode(latents), compiled)


def _published() -> AutoencoderKLSSVAE:
    vae = channels_last(AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4")).eval()
    torch.nn.Module.to(vae, "cuda", torch.bfloat16)  # diffusers' own way warns of every dtype
    return vae


def step(name: str, number: int = 3) -> Callable[[bool], dict[str, Any]]:
    """A step of this number of a VAE's recipe; the batch is made before."""

    def count(compiled: bool) -> dict[str, Any]:
        recipe = dataclasses.replace(
            RECIPES[name](), data="world", validation=ValidationConfig(), compile=compiled
        )
        return _of_trainer(
            VAETrainer(recipe, make_accelerator("cuda", "bfloat16")), number, compiled
        )

    return count


def diffusion_step(compiled: bool) -> dict[str, Any]:
    """A step of dit-small on 64 latents of 16x5x16x16."""
    from ssvae.diffusion.trainer import DiffusionTrainer

    with tempfile.TemporaryDirectory() as folder:
        vae = str(find_vae("ssvae/tiny"))
        on_cpu: Any = make_accelerator("cpu")
        config = CacheConfig(vae, "world", 16, 17, 64, 64)
        write_cache(load_backbone(vae), Path(folder) / "cache", config, on_cpu)
        on_cpu.state._reset_state(reset_partial_state=True)
        recipe = dataclasses.replace(
            DIFFUSION_RECIPES["dit-small"](),
            latents=str(Path(folder) / "cache"),
            batch_size=64,
            compile=compiled,
        )
        trainer = DiffusionTrainer(recipe, make_accelerator("cuda", "bfloat16"))
        return _of_trainer(trainer, 3, compiled)


def _of_trainer(trainer: Any, number: int, compiled: bool) -> dict[str, Any]:
    first = number - WARM_UP
    batches = trainer.batches(first, number)
    steps = iter([lambda n=n: trainer.step(n, next(batches)) for n in range(first, number)])
    batch: list[Any] = []

    def prepare() -> None:
        for work in steps:
            work()
        batch.append(next(batches))
        trainer.step(number, batch[0])  # for a batch of images may be the first of its kind

    return _counted(lambda: trainer.step(number, batch[0]), compiled, prepare)


def _counted(
    work: Callable[[], Any], compiled: bool, prepare: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """What some work asks of the device, behind what prepares it."""
    from emulation import counting, device  # type: ignore[import-not-found]

    with counting(FOUND, compiled=compiled) as ledger:
        prepare()
        ledger.clear()
        work()
        calls, total = ledger.calls, device.counters()
        launches = total["launches"] - ledger.before["launches"]
        return dict(
            tflop=sum(call.flops for call in calls) / 1e12,
            gigabytes=sum(call.bytes for call in calls) / 1e9,
            launches=launches,
            unattributed=launches - sum(call.launches for call in calls),
            waits=device.syncs(total) - device.syncs(ledger.before),
            least_ms=sum(max(c.flops / TFLOPS, c.bytes / TERABYTES) for c in calls) / 1e9,
            peak_gigabytes=torch.cuda.max_memory_allocated() / 1e9,
        )


def without_weights() -> None:
    """LPIPS with random weights, and no time spent on drawing a model's."""
    objective.load_lpips = lambda *_: LPIPS()
    for name in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "trunc_normal_"):
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


ROWS: dict[str, tuple[str, Callable[[bool], dict[str, Any]]]] = {
    "encode": ("encode 17x256x256", encode),
    "decode": ("decode 17x256x256", decode),
    "ssvae-256p": ("step of ssvae-256p, LPIPS and GAN", step("ssvae-256p", 25010)),
    "small": ("step of small on 32 stills", step("small", 6000)),
    "film": ("step of film", step("film")),
    "tiny": ("step of tiny", step("tiny")),
    "dit-small": ("step of dit-small, 64 latents of 16x5x16x16", diffusion_step),
}
COMPILED = ("ssvae-256p", "small", "tiny", "dit-small")


def count_all(options: argparse.Namespace) -> None:
    """Each row in a process of its own; what was counted before stays."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    kept = read_json(path) if path.exists() else {"as written": {}, "compiled": {}}
    about = dict(commit=commit_of(Path(__file__)), date=datetime.date.today().isoformat())
    command = [str(options.emulation / "run"), str(options.built), str(Path(__file__).resolve())]
    for name in options.only:
        for kind in ("as written", "compiled") if name in COMPILED else ("as written",):
            print(f"{ROWS[name][0]}, {kind}", flush=True)
            asked = ["--count", name, *(["--compiled"] if kind == "compiled" else [])]
            done = subprocess.run([*command, *asked], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"it was not counted:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            kept[kind][name] = {"title": ROWS[name][0]} | found | about
            write_json(path, kept, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--emulation", type=Path)
    parser.add_argument("--built", type=Path)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("results/gpu-counted"))
    parser.add_argument("--count", choices=ROWS, help="one row, in the process that counts")
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    if options.count is not None:
        without_weights()
        print(json.dumps(ROWS[options.count][1](options.compiled)))
    elif options.emulation is None or options.built is None:
        sys.exit(
            "an emulation of a GPU is needed: --emulation DIR with its script run and its package "
            "emulation, and --built DIR, what it was built into (see the beginning of this file)"
        )
    else:
        count_all(options)


if __name__ == "__main__":
    main()
