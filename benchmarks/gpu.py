"""All that is worth measuring on one GPU, in sections of under five minutes, with the tests.

    python benchmarks/gpu.py [--only NAME ...] [--out results/gpu] [--tiny]

``tests``: those of tests/gpu. ``codecs`` and ``codecs-720p``: encoding and decoding in bfloat16 at
17x256x256 and 17x720x1280, against the plain form, torch.compile and Wan 2.2's VAE. ``autoencoder``
and ``stills``: training steps of ssvae-256p and of small on stills; ``transformer``: of dit-small,
each as written and compiled. ``loader``: how long a trainer waits for videos that threads decode.
Contestants take turns in balanced order (A B B A), so that a clock that falls meets all alike.

Adds to results.json and table.md, section by section, with the device and the versions; what an
earlier call measured stays. What fails is told in the table, and the command ends with status 1. It
needs no network, and runs with the Python that calls it.

--tiny takes seconds on a CPU, and shows that the command runs.
"""

import argparse
import dataclasses
import datetime
import gc
import os
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

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # where nothing is installed
try:
    import diffusers
    import torch
    from accelerate import Accelerator
    from diffusers import AutoencoderKLWan

    from autoencoder import WAN_22
    from ssvae.data import World
    from ssvae.data.shard_writer import render, write_shards
    from ssvae.diffusion import train_diffusion
    from ssvae.fused import lacking
    from ssvae.latents import CacheConfig, write_cache
    from ssvae.models import AutoencoderKLSSVAE
    from ssvae.models.backbones import Backbone, load_backbone
    from ssvae.models.blocks import channels_last
    from ssvae.models.plain import plain_decode, plain_encode
    from ssvae.recipes import dit_small, dit_tiny, small, ssvae_256p, tiny
    from ssvae.report.tables import markdown
    from ssvae.storage.files import read_json, read_rows, write_json, write_text
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
except ModuleNotFoundError as error:
    sys.exit(f"this Python ({sys.executable}) lacks {error.name}: pip install {error.name}")

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
    clips: tuple[tuple[int, int, int], tuple[int, int, int]]
    """Frames, height and width of both sections of codecs."""
    rounds: int
    """Of each contestant, an even number."""
    full_size: bool
    """Whether all is of a size worth a GPU, compiled too."""
    steps: int
    """Of each training run; the first row of its speed is left out."""


def plan_of(tiny_sizes: bool) -> Plan:
    if tiny_sizes:
        return Plan(
            *(torch.device("cpu"), torch.float32, "tiny", WAN_TINY),
            *(((5, 32, 32), (5, 32, 48)), 2, False, 21),
        )
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a GPU; --tiny shows on a CPU that it runs")
    sizes = ((17, 256, 256), (17, 720, 1280))
    return Plan(torch.device("cuda"), torch.bfloat16, "ssvae-c48-f16t4", WAN_22, sizes, 6, True, 60)


def run_tests(plan: Plan) -> list[dict[str, Any]]:
    """The tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests" / "gpu")]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
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
    return named | ({"compiled": lambda: ours("compiled")} if plan.full_size and compiles() else {})


def compiles() -> bool:
    """Whether torch finds what it needs to; else it is told."""
    missing = lacking()
    if missing:
        print(f"nothing is compiled: {', '.join(missing)}", flush=True)
    return not missing


def turns(plan: Plan) -> tuple[bool, ...]:
    """Which training runs are compiled: in balanced order where any is."""
    return (False, True, True, False) if plan.full_size and compiles() else (False,)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def run_codecs(plan: Plan, size: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Seconds, memory and operations of encoding and decoding, contestants in turns."""
    frames, height, width = size
    clip = World(frames, height, width, device=plan.device).batch([0]).video.to(plan.dtype)
    coders = {name: make() for name, make in coders_of(plan).items()}
    rows = []
    for task in ("encode", "decode"):
        works: dict[str, Callable[[], Any]] = {}
        for name, (backbone, encode, decode) in coders.items():
            shape = backbone.latent_shape(frames, height, width)
            z = torch.randn(1, *shape, device=plan.device, dtype=clip.dtype)
            run, x = (encode, clip) if task == "encode" else (decode, z)
            works[name] = lambda run=run, x=x: run(x)
        told = f"{task} {frames}x{height}x{width}"
        found = timed(works, plan)
        rows += [{"task": told, "model": name, **row} for name, row in found.items()]
    return rows


def timed(works: dict[str, Callable[[], Any]], plan: Plan) -> dict[str, dict[str, Any]]:
    """Medians of some rounds in balanced order, after what counts operations and warms up."""
    rows: dict[str, dict[str, Any]] = {}
    for name, work in works.items():
        gc.collect()
        torch.cuda.empty_cache()
        try:
            rows[name] = prepared(work, plan)
        except torch.OutOfMemoryError:
            rows[name] = {"seconds": "out of memory"}
    running = [name for name, row in rows.items() if "operations" in row]
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for i in range(plan.rounds):
        for name in running if i % 2 == 0 else running[::-1]:
            began = time.perf_counter()
            works[name]()
            wait_for(plan.device)
            seconds[name].append(time.perf_counter() - began)
    for name in running:
        middle, operations = statistics.median(seconds[name]), rows[name].pop("operations")
        rows[name] = {"seconds": middle, "teraflops": operations / middle / 1e12, **rows[name]}
        if peak := peak_of(plan.device, half=True):
            rows[name]["share_of_peak"] = operations / middle / peak
    return rows


def prepared(work: Callable[[], Any], plan: Plan) -> dict[str, Any]:
    """Operations, and memory at the peak, of some work that then is warm."""
    _, operations = counted(work)
    work()
    wait_for(plan.device)
    if plan.device.type != "cuda":
        return {"operations": operations}
    torch.cuda.reset_peak_memory_stats()
    memory = torch.cuda.memory_allocated()
    work()
    grown = torch.cuda.max_memory_allocated() - memory
    return {"operations": operations, "gigabytes": grown / 1e9}


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
    return steps_of("ssvae-256p" if plan.full_size else "tiny", recipe, plan, accelerator)


def run_stills(plan: Plan, accelerator: Accelerator) -> list[dict[str, Any]]:
    """Steps of the small recipe on stills, with the GAN on."""
    recipe: TrainingRecipe = small() if plan.full_size else tiniest()
    clip = dataclasses.replace(recipe.clip, frames=1)
    stills = dataclasses.replace(recipe, clip=clip, batch_size=32 if plan.full_size else 1)
    name = "small" if plan.full_size else "tiny"
    return steps_of(f"{name}, stills", stills, plan, accelerator)


def steps_of(
    name: str, recipe: TrainingRecipe, plan: Plan, accelerator: Accelerator
) -> list[dict[str, Any]]:
    gan = GANConfig(start=0) if plan.full_size else GANConfig(start=0, channels=4, halvings=3)
    rows = []
    for compiled in turns(plan):
        changed = bare(recipe, plan, data="world", gan=gan, compile=compiled)
        with tempfile.TemporaryDirectory() as folder:
            train_autoencoder(changed, Path(folder) / "run", accelerator)
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
        for number, compiled in enumerate(turns(plan)):
            changed = dataclasses.replace(
                recipe,
                latents=str(folder / "cache"),
                steps=plan.steps,
                compile=compiled,
                checkpoint_every=10_000,
                **({} if plan.full_size else dict(batch_size=2)),
            )
            run = folder / f"run-{number}"
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


class Section(NamedTuple):
    """A part of the command."""

    title: str
    minutes: float
    """What it should take on an H100, estimated and not measured."""
    run: Callable[[], list[dict[str, Any]]]


def sections_of(plan: Plan, accelerator: Accelerator) -> dict[str, Section]:
    small_clips, large_clips = plan.clips
    return {
        "tests": Section("Tests", 4, lambda: run_tests(plan)),
        "codecs": Section("Codecs", 3, lambda: run_codecs(plan, small_clips)),
        "codecs-720p": Section("Codecs at 720p", 4, lambda: run_codecs(plan, large_clips)),
        "autoencoder": Section("ssvae-256p", 5, lambda: run_autoencoder(plan, accelerator)),
        "stills": Section("small on stills", 4, lambda: run_stills(plan, accelerator)),
        "transformer": Section("dit-small", 4, lambda: run_transformer(plan, accelerator)),
        "loader": Section("Waiting for videos", 4, lambda: run_loader(plan, accelerator)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="sections; else all")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    plan = plan_of(options.tiny)
    half = "float32" if options.tiny else "bfloat16"
    sections = sections_of(plan, make_accelerator("cpu" if options.tiny else "cuda", half))
    asked = options.only or list(sections)
    if unknown := set(asked) - set(sections):
        known = ", ".join(sections)
        parser.error(f"no section is called {', '.join(unknown)}: choose from {known}")
    if plan.full_size:
        minutes = sum(sections[name].minutes for name in asked)
        print(f"{', '.join(asked)}: about {minutes:g} minutes", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    path, failed = options.out / "results.json", []
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    for name in asked:
        began, (title, _, run) = time.perf_counter(), sections[name]
        try:
            rows = run()
        except Exception as error:
            traceback.print_exc()
            failed.append(name)
            rows = [{"failed": f"{type(error).__name__}: {error}".splitlines()[0]}]
        took = round(time.perf_counter() - began)
        results[name] = {"title": title, "took": took, "about": about(plan), "rows": rows}
        # Section by section, so that what was measured is there whatever comes next.
        write_json(path, results, indent=2)
        write_text(options.out / "table.md", page_of(results, list(sections)))
        print(f"\n## {title} ({took} s)\n\n{table_of(rows)}", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def page_of(results: dict[str, Any], order: list[str]) -> str:
    """All sections that were measured, each with what it was measured on."""
    text: list[str] = []
    for name in (name for name in order if name in results):
        found = results[name]
        text += [f"## {found['title']} ({found['took']} s)\n", table_of(found["rows"])]
        text += [", ".join(f"{k} {v}" for k, v in found["about"].items()) + "\n"]
    return "\n".join(text)


if __name__ == "__main__":
    main()
