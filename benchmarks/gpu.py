"""All that is worth measuring on one GPU, in under ten minutes, with the tests that need one.

    python benchmarks/gpu.py [--out results/gpu] [--tiny]

The tests of tests/gpu; encoding and decoding in bfloat16 at 17x256x256 and 17x720x1280, against the
plain form, torch.compile and Wan 2.2's VAE; training steps of ssvae-256p and dit-small in bfloat16;
and how long a trainer waits for videos that threads decode. Writes results.json and table.md with
the device and the versions. What fails is told in the table, and the command ends with status 1.

--tiny takes seconds on a CPU, and shows that the command runs.
"""

import argparse
import dataclasses
import datetime
import gc
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLWan

from autoencoder import WAN_22
from ssvae.data import World
from ssvae.data.shard_writer import render, write_shards
from ssvae.diffusion import train_diffusion
from ssvae.latents import CacheConfig, write_cache
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.plain import plain_decode, plain_encode
from ssvae.recipes import dit_small, dit_tiny, small, ssvae_256p, tiny
from ssvae.report.tables import markdown
from ssvae.storage.files import read_rows, write_json, write_text
from ssvae.training import make_accelerator
from ssvae.training.devices import peak_of
from ssvae.training.speed import counted
from ssvae.vae import (
    GANConfig,
    PerceptualConfig,
    TrainingRecipe,
    VAERecipe,
    ValidationConfig,
    train_autoencoder,
)

ROOT = Path(__file__).parents[1]
WAN_TINY: dict[str, Any] = dict(
    base_dim=8,
    z_dim=4,
    dim_mult=[1, 1, 1, 1],
    num_res_blocks=1,
    temperal_downsample=[False, True, True],
)
Coder = Callable[[torch.Tensor], Any]


class Coders(NamedTuple):
    """A contestant."""

    backbone: Backbone
    encode: Coder
    decode: Coder


@dataclasses.dataclass(frozen=True)
class Plan:
    """The sizes at which all is measured."""

    device: torch.device
    dtype: torch.dtype
    preset: str
    wan: dict[str, Any]
    clips: tuple[tuple[int, int, int], ...]
    """Frames, height and width."""
    rounds: int
    full_size: bool
    """Whether all is of a size worth a GPU, compiled too."""
    steps: int
    """Of each training run; the first row of its speed is left out."""


def plan_of(tiny_sizes: bool) -> Plan:
    if tiny_sizes:
        return Plan(
            torch.device("cpu"), torch.float32, "tiny", WAN_TINY, ((5, 32, 32),), 2, False, 21
        )
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a GPU; --tiny shows on a CPU that it runs")
    sizes = ((17, 256, 256), (17, 720, 1280))
    return Plan(torch.device("cuda"), torch.bfloat16, "ssvae-c48-f16t4", WAN_22, sizes, 5, True, 80)


def run_tests(plan: Plan) -> list[dict[str, Any]]:
    """The tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests" / "gpu")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:]
    if done.returncode:
        raise RuntimeError(f"the tests fail: {said}\n{done.stdout[-3000:]}")
    return [{"tests": said}]


def coders_of(plan: Plan) -> dict[str, Callable[[], Coders]]:
    """How each contestant encodes and decodes, made when it is its turn."""

    def on_device(vae: Any) -> Any:
        return vae.eval().to(plan.device, plan.dtype)

    def ours(kind: str) -> Coders:
        torch.manual_seed(0)
        vae = on_device(AutoencoderKLSSVAE.from_preset(plan.preset))
        if kind == "plain form":
            return Coders(
                Backbone(vae), lambda x: plain_encode(vae, x), lambda z: plain_decode(vae, z)
            )
        channels_last(vae)
        if kind == "compiled":
            Backbone(vae).compile()
        return Coders(Backbone(vae), lambda x: vae.encode(x), lambda z: vae.decode(z))

    def wan() -> Coders:
        torch.manual_seed(0)
        vae = on_device(AutoencoderKLWan(**plan.wan))
        return Coders(Backbone(vae), lambda x: vae.encode(x), lambda z: vae.decode(z))

    named: dict[str, Callable[[], Coders]] = {
        "ours": lambda: ours("ours"),
        "plain form": lambda: ours("plain form"),
        "Wan 2.2": wan,
    }
    return named | ({"compiled": lambda: ours("compiled")} if plan.full_size else {})


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def run_codecs(plan: Plan) -> list[dict[str, Any]]:
    """Seconds, memory and operations of encoding and decoding, each contestant by itself."""
    rows = []
    for frames, height, width in plan.clips:
        size = f"{frames}x{height}x{width}"
        clip = World(frames, height, width, device=plan.device).batch([0]).video.to(plan.dtype)
        for name, make in coders_of(plan).items():
            try:
                backbone, encode, decode = make()
                shape = backbone.latent_shape(frames, height, width)
                latents = torch.randn(1, *shape, device=plan.device, dtype=clip.dtype)
                for task, work, x in (("encode", encode, clip), ("decode", decode, latents)):
                    rows.append({"task": f"{task} {size}", "model": name} | timed(work, x, plan))
                del backbone, encode, decode, latents
            except torch.OutOfMemoryError:
                rows.append({"task": size, "model": name, "seconds": "out of memory"})
            gc.collect()
            torch.cuda.empty_cache()
    return rows


def timed(work: Coder, x: torch.Tensor, plan: Plan) -> dict[str, Any]:
    """The median of some rounds, after one that counts operations and one that warms up."""
    _, operations = counted(lambda: work(x))
    work(x)
    wait_for(plan.device)
    cuda, memory = plan.device.type == "cuda", 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        memory = torch.cuda.memory_allocated()
    seconds = []
    for _ in range(plan.rounds):
        began = time.perf_counter()
        work(x)
        wait_for(plan.device)
        seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    row: dict[str, Any] = {"seconds": middle, "teraflops": operations / middle / 1e12}
    if peak := peak_of(plan.device, half=True):
        row["share_of_peak"] = operations / middle / peak
    if cuda:
        row["gigabytes"] = (torch.cuda.max_memory_allocated() - memory) / 1e9
    return row


def tiniest() -> VAERecipe:
    """A recipe for --tiny."""
    recipe = tiny()
    model = dataclasses.replace(recipe.model, z_dim=4, base_channels=8)
    return dataclasses.replace(recipe, model=model, batch_size=1)


def bare(recipe: TrainingRecipe, plan: Plan, **changes: Any) -> TrainingRecipe:
    """A recipe without LPIPS, whose weights are not ours, and without what is no step."""
    return dataclasses.replace(
        recipe,
        steps=plan.steps,
        perceptual=PerceptualConfig(),
        validation=ValidationConfig(),
        checkpoint_every=10_000,
        **changes,
    )


def speed_of(run: Path) -> dict[str, Any]:
    """The means of a run's speed, without the first row."""
    found = read_rows(run / "speed.jsonl")[1:]
    names = [name for name in found[-1] if name != "step"]
    return {name: statistics.mean(row[name] for row in found if name in row) for name in names}


def run_autoencoder(plan: Plan, accelerator: Accelerator) -> list[dict[str, Any]]:
    """Steps of the published recipe with the GAN on."""
    recipe: TrainingRecipe = ssvae_256p() if plan.full_size else tiniest()
    gan = GANConfig(start=0) if plan.full_size else GANConfig(start=0, channels=4, halvings=3)
    rows = []
    for compiled in (False, True) if plan.full_size else (False,):
        changed = bare(recipe, plan, data="world", gan=gan, compile=compiled)
        with tempfile.TemporaryDirectory() as folder:
            train_autoencoder(changed, Path(folder) / "run", accelerator)
            name = "ssvae-256p" if plan.full_size else "tiny"
            rows.append({"recipe": name, "compiled": compiled, **speed_of(Path(folder) / "run")})
        accelerator.free_memory()
    return rows


def run_transformer(plan: Plan, accelerator: Accelerator) -> list[dict[str, Any]]:
    """Steps of dit-small, on latents of a VAE with random weights."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        AutoencoderKLSSVAE.from_preset("tiny").save_pretrained(folder / "vae")
        config = CacheConfig(str(folder / "vae"), clips=1024 if plan.full_size else 32)
        backbone = load_backbone(folder / "vae", accelerator.device)
        write_cache(backbone, folder / "cache", config, accelerator)
        recipe = dit_small() if plan.full_size else dit_tiny()
        for compiled in (False, True) if plan.full_size else (False,):
            changed = dataclasses.replace(
                recipe,
                latents=str(folder / "cache"),
                steps=plan.steps,
                compile=compiled,
                checkpoint_every=10_000,
                **({} if plan.full_size else dict(batch_size=2)),
            )
            run = folder / f"run-{compiled}"
            train_diffusion(changed, run, accelerator)
            kind = "dit-small" if plan.full_size else "dit-tiny"
            rows.append({"recipe": kind, "compiled": compiled, **speed_of(run)})
            accelerator.free_memory()
    return rows


def run_loader(plan: Plan, accelerator: Accelerator) -> list[dict[str, Any]]:
    """What share of its time the small recipe waits for videos of 640x480, by number of threads."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = (480, 640) if plan.full_size else (48, 64)
        make = render(World(90, *side), "world", (90, side[0], side[1]), fps=30, seed=0)
        write_shards(range(8), make, folder / "shards", 4)
        recipe: TrainingRecipe = small() if plan.full_size else tiniest()
        for workers in (4, 8, 16) if plan.full_size else (2,):
            data = str(folder / "shards")
            changed = bare(recipe, plan, data=data, workers=workers, gan=GANConfig())
            run = folder / f"run-{workers}"
            train_autoencoder(changed, run, accelerator)
            rows.append({"threads": workers, **speed_of(run)})
            accelerator.free_memory()
    return rows


def about(plan: Plan) -> dict[str, Any]:
    """What the figures were measured on."""
    gpu = plan.device.type == "cuda"
    return dict(
        device=torch.cuda.get_device_name() if gpu else f"CPU, {platform.machine()}",
        torch=torch.__version__,
        cuda=torch.version.cuda,
        diffusers=diffusers.__version__,
        python=platform.python_version(),
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", *sys.argv]),
    )


def table_of(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))

    def text_of(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return markdown(
        [n.replace("_", " ") for n in names], [[text_of(r.get(n, "")) for n in names] for r in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    plan = plan_of(options.tiny)
    half = "float32" if options.tiny else "bfloat16"
    accelerator = make_accelerator("cpu" if options.tiny else "cuda", half)
    sections: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "Tests": lambda: run_tests(plan),
        "Encoding and decoding": lambda: run_codecs(plan),
        "Training an autoencoder": lambda: run_autoencoder(plan, accelerator),
        "Training a diffusion model": lambda: run_transformer(plan, accelerator),
        "Waiting for videos": lambda: run_loader(plan, accelerator),
    }
    results: dict[str, Any] = {}
    text, failed = [f"{k}: {v}" for k, v in about(plan).items()], []
    options.out.mkdir(parents=True, exist_ok=True)
    for title, section in sections.items():
        began = time.perf_counter()
        try:
            rows = section()
        except Exception as error:
            traceback.print_exc()
            failed.append(title)
            rows = [{"failed": f"{type(error).__name__}: {error}".splitlines()[0]}]
        results[title] = rows
        text += [f"\n## {title} ({time.perf_counter() - began:.0f} s)\n", table_of(rows)]
        print("\n".join(text[-2:]), flush=True)
        # Section by section, so that what was measured is there whatever comes next.
        write_json(options.out / "results.json", {"about": about(plan), **results}, indent=2)
        write_text(options.out / "table.md", "\n".join(text) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
