"""Commands that measure: the probe, and the benchmarks."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ssvae.bench.cells import CELLS, DEFAULT
from ssvae.bench.diffusability import names_of, run_diffusability
from ssvae.bench.interventions import run_interventions
from ssvae.bench.map import run_map
from ssvae.bench.map_results import arms_table, effects_table
from ssvae.bench.prediction import run_prediction
from ssvae.bench.results import table
from ssvae.bench.scales import RIVALS, SCALES, TUNED, Scale
from ssvae.bench.stages import Options
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, progress
from ssvae.evaluation.probe import SIZE, probe_accuracy, save_probe
from ssvae.evaluation.probe import train_probe as fit_probe
from ssvae.evaluation.reward import true_clips, true_clips_tensors
from ssvae.storage.files import check_file

Seeds = Annotated[str, tyro.conf.arg(metavar="0,1,2")]
Variants = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="VARIANT ...",
        help="VAEs to train in each: baseline, lcr, lmr, both; null, the baseline again under other "
        f"seeds; rivals {', '.join(RIVALS)} (docs/regularizers.md), and other settings of these, "
        f"{', '.join(TUNED)}.",
    ),
]
Cells = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="CELL ...",
        help="Places on the map. "
        + ". ".join(f"{name}: {cell.title}" for name, cell in CELLS.items())
        + ".",
    ),
]


def train_probe(
    out: Path,
    data: str = "world",
    steps: int = 900,
    seed: int = 0,
    common: CommonOptions = Common(),
) -> None:
    """Train the probe that scores generated clips, on true clips of a source.

    Args:
        out: The probe's weights, .safetensors.
        data: "world" (procedural), "stills" or "stills:FOLDER": a source whose captions have known words.
        steps: Training steps, of 48 clips each.
        seed: Seed of the initial weights and the clips.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"a probe is written as NAME.safetensors, got {out}")
    check_file(out)
    device = common.accelerator().device
    with progress("training the probe", steps) as advance:
        probe = fit_probe(
            steps,
            seed=seed,
            device=device,
            on_step=lambda s, loss: advance(s, f"loss {loss:.3f}"),
            data=data,
        )
    save_probe(probe, out, true_clips_tensors(true_clips(probe, data=data), SIZE))
    accuracy = probe_accuracy(probe, data=data)
    listed = ", ".join(f"{kind} {share:.1%}" for kind, share in accuracy.items())
    console.print(f"on true held-out clips it names {listed}; written to {out}", soft_wrap=True)


def diffusability(
    scale: Literal["mini", "small"] = "mini",
    seeds: Seeds = "0,1,2,3,4",
    vae: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    out: Path | None = None,
    work: Path | None = None,
    steps: tuple[int, ...] = (),
    data: str = "world",
    probe: Path | None = None,
    jobs: int = 1,
    common: CommonOptions = Common(),
) -> None:
    """Train the same diffusion model on the latents of VAEs that differ in LCR and LMR alone.

    The same command goes on where it stopped, with more seeds too. Two controls run beside: the
    baseline under other seeds, and its latents with whitened frequencies, which is known to hurt.

    Args:
        scale: mini, about an hour a seed on two cores, or small, for a GPU.
        seeds: Seeds, each with VAEs and diffusion models of its own; a claim takes five.
        vae: NAME=PATH, the option once for each VAE to compare instead of training four: runs,
            model folders or hub ids. The one called baseline, or the first, is what others are compared with.
        out: Folder of the results; results/diffusability-SCALE (-stills) where not given.
        work: Folder of the runs; runs/diffusability-SCALE where not given.
        steps: Steps of the diffusion model at which to score, instead of the scale's.
        data: "world" (procedural), "stills" (a camera over the pictures of scikit-image), or
            "stills:FOLDER", which takes a probe of its own: see ssvae train-probe.
        probe: Another probe than the package's.
        jobs: Models trained at once, each on its share of the threads: on a CPU of n cores, n of
            them are done soonest.
    """
    name = _name("diffusability", scale, data)
    options = _options(name, seeds, out, work, probe, jobs, common)
    plan = _scale(scale, steps, data)
    vaes = names_of(vae)
    with progress(name) as advance:
        summary = run_diffusability(
            plan, options, vaes, lambda done, total, note: advance(done, note, total)
        )
    console.print(table(summary), soft_wrap=True, markup=False)
    console.print(f"results: {options.out}", soft_wrap=True)


def interventions(
    scale: Literal["mini", "small"] = "mini",
    seeds: Seeds = "0,1,2,3,4",
    vae: str | None = None,
    out: Path | None = None,
    work: Path | None = None,
    steps: tuple[int, ...] = (),
    data: str = "world",
    probe: Path | None = None,
    jobs: int = 1,
    common: CommonOptions = Common(),
) -> None:
    """Change the spectrum of one VAE's latents by invertible maps, and nothing else.

    The same command goes on where it stopped.

    Args:
        scale: mini, for two cores, or small, for a GPU.
        seeds: Seeds of the diffusion models.
        vae: The VAE, a run, a model folder or a hub id; the scale's baseline is trained where not
            given.
        out: Folder of the results; results/interventions-SCALE where not given.
        work: Folder of the runs; runs/interventions-SCALE where not given.
        steps: Steps of the diffusion model at which to score, instead of the scale's.
        data: "world" (procedural), "stills" (a camera over the pictures of scikit-image), or
            "stills:FOLDER", which takes a probe of its own: see ssvae train-probe.
        probe: Another probe than the package's.
        jobs: Models trained at once, each on its share of the threads: on a CPU of n cores, n of
            them are done soonest.
    """
    name = _name("interventions", scale, data)
    options = _options(name, seeds, out, work, probe, jobs, common)
    plan = _scale(scale, steps, data)
    with progress(name) as advance:
        summary = run_interventions(
            plan, options, vae, lambda done, total, note: advance(done, note, total)
        )
    console.print(table(summary), soft_wrap=True, markup=False)
    console.print(f"results: {options.out}", soft_wrap=True)


def map(
    scale: Literal["mini", "small"] = "mini",
    cells: Cells = (DEFAULT,),
    variants: Variants = ("baseline", "lcr"),
    seeds: Seeds = "0,1,2",
    vae: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    out: Path | None = None,
    work: Path | None = None,
    steps: tuple[int, ...] = (),
    data: str = "world",
    probe: Path | None = None,
    jobs: int = 1,
    compile: bool = False,
    common: CommonOptions = Common(),
) -> None:
    """Map where LCR and LMR help: settings that differ one at a time, and recipes against the custom.

    Results of one folder join: call again for other cells and seeds, or to go on after a stop.

    Args:
        scale: mini, for two cores, or small, for a GPU.
        seeds: Seeds, each with VAEs and diffusion models of its own; a claim takes five.
        vae: NAME=PATH, the option once for each VAE to take instead of training: runs, model folders
            or hub ids. One is enough to compare recipes, and one must be called baseline.
        out: Folder of the results; results/map-SCALE (-stills) where not given.
        work: Folder of the runs; runs/map-SCALE where not given.
        steps: Steps of the diffusion model at which to score, instead of the scale's.
        data: "world" (procedural), "stills" or "stills:FOLDER" (a camera over pictures).
        probe: Another probe than the package's.
        jobs: Models trained at once, each on its share of the threads: on a CPU of n cores, n of
            them are done soonest.
        compile: Compile the diffusion models, which takes a C++ compiler on a CPU and pays in bfloat16.
    """
    name = _name("map", scale, data)
    options = _options(name, seeds, out, work, probe, jobs, common)
    options = dataclasses.replace(options, compile=compile)
    plan = _scale(scale, steps, data)
    vaes = names_of(vae)
    with progress(name) as advance:
        summary = run_map(
            plan,
            options,
            cells,
            variants,
            vaes,
            lambda done, total, note: advance(done, note, total),
        )
    for text in (arms_table(summary), effects_table(summary)):
        console.print(text, soft_wrap=True, markup=False)
    console.print(f"results: {options.out}", soft_wrap=True)


def predict(
    scale: Literal["mini", "small"] = "mini",
    results: Path | None = None,
    out: Path | None = None,
    work: Path | None = None,
    data: str = "world",
    jobs: int = 1,
    common: CommonOptions = Common(),
) -> None:
    """Which figure of latents alone tells how they are learned? Over all VAEs of a map.

    Rank correlations with the reward, the steps and the Fréchet distance of the diffusion models that
    bench map trained, over the cells that change the VAE alone.

    Args:
        scale: That of the map.
        results: Folder of the map's results; results/map-SCALE (-stills) where not given.
        out: Folder of these results; results/predict-SCALE (-stills) where not given.
        work: Folder of the map's runs, with the latents; runs/map-SCALE (-stills) where not given.
        data: That of the map.
        jobs: VAEs measured at once.
    """
    of_map, name = (_name(benchmark, scale, data) for benchmark in ("map", "predict"))
    work = work or Path("runs") / of_map
    options = _options(name, "0", out, work, None, jobs, common)
    with progress(name) as advance:
        run_prediction(
            _scale(scale, (), data),
            options,
            results or Path("results") / of_map,
            lambda done, total, note: advance(done, note, total),
        )
    console.print((options.out / "table.md").read_text(), soft_wrap=True, markup=False)
    console.print(f"results: {options.out}", soft_wrap=True)


def _name(benchmark: str, scale: str, data: str) -> str:
    return f"{benchmark}-{scale}" + ("" if data == "world" else f"-{data.partition(':')[0]}")


def _options(
    name: str,
    seeds: str,
    out: Path | None,
    work: Path | None,
    probe: Path | None,
    jobs: int,
    common: Common,
) -> Options:
    try:
        numbers = tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        numbers = ()
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ValueError(f"--seeds takes different numbers of at least 0, as 0,1,2; got {seeds!r}")
    if common.accelerator().num_processes > 1:
        raise ValueError("a benchmark runs in one process: use --jobs instead of torchrun")
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    return Options(
        out or Path("results") / name,
        work or Path("runs") / name,
        numbers,
        common.device,
        common.dtype,
        probe,
        jobs,
    )


def _scale(name: str, steps: tuple[int, ...], data: str) -> Scale:
    scale = SCALES[name]().on(data)
    if not steps:
        return scale
    if min(steps) < 2 or list(steps) != sorted(set(steps)):
        raise ValueError(f"--steps takes rising numbers of at least 2, got {steps}")
    return dataclasses.replace(scale, evaluations=steps)
