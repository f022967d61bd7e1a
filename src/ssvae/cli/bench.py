"""Commands that measure: the probe, and the benchmarks."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ssvae.bench.interventions import run_interventions
from ssvae.bench.report import TABLES
from ssvae.bench.scales import SCALES, Scale
from ssvae.bench.stages import Options
from ssvae.bench.vaes import names_of, run_vaes
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, progress
from ssvae.evaluation.probe import SIZE, probe_accuracy, save_probe
from ssvae.evaluation.probe import train_probe as fit_probe
from ssvae.evaluation.reward import true_clips, true_clips_tensors
from ssvae.storage.files import check_file

Seeds = Annotated[str, tyro.conf.arg(metavar="0,1,2")]


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
        data: "world" (procedural), "stills" or "stills:FOLDER": a source whose captions have known
            words.
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


@dataclass(frozen=True)
class Bench:
    """Options of all benchmarks."""

    scale: Literal["laptop", "gpu"] = "laptop"
    """laptop, about a quarter of an hour a diffusion model on a core, or gpu."""
    seeds: Seeds = "0,1,2,3,4"
    """Seeds of the diffusion models; a claim takes five."""
    out: Path | None = None
    """Folder of the results; results/NAME where not given."""
    work: Path | None = None
    """Folder of the runs; runs/NAME where not given."""
    steps: tuple[int, ...] = ()
    """Steps of the diffusion model at which to score, instead of the scale's."""
    data: str = "world"
    """Where clips come from. On "world" (procedural), "stills" (a camera over the pictures of
    scikit-image) and "stills:FOLDER" captions have known words, and rewards are scored; on any
    other source Fréchet distance and KVD, on the features of --network."""
    size: tuple[int, int, int] | None = None
    """Frames, height and width of the clips; the scale's where not given."""
    probe: Path | None = None
    """Another probe than the package's, which gives rewards: see ssvae train-probe."""
    network: str | None = None
    """Features for distances: probe, i3d:FILE.pt or videomae:NAME_OR_FOLDER."""
    jobs: int = 1
    """Models trained at once, each on its share of the threads: on a CPU of n cores, n of them are
    done soonest."""

    def options(self, name: str, common: Common) -> Options:
        """Where and how a benchmark of this name works."""
        try:
            numbers = tuple(int(seed) for seed in self.seeds.split(","))
        except ValueError:
            numbers = ()
        if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise ValueError(
                f"--seeds takes different numbers of at least 0, as 0,1,2; got {self.seeds!r}"
            )
        if common.accelerator().num_processes > 1:
            raise ValueError("a benchmark runs in one process: use --jobs instead of torchrun")
        if self.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {self.jobs}")
        return Options(
            self.out or Path("results") / name,
            self.work or Path("runs") / name,
            numbers,
            common.device,
            common.dtype,
            self.probe,
            self.network,
            part=name,
            jobs=self.jobs,
        )

    def plan(self) -> Scale:
        """All settings."""
        scale = SCALES[self.scale]().on(self.data)
        if self.size is not None:
            sides = zip(("frames", "height", "width"), self.size, strict=True)
            scale = scale.changed({f"vae.clip.{name}": side for name, side in sides})
        if not self.steps:
            return scale
        if min(self.steps) < 2 or list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"--steps takes rising numbers of at least 2, got {self.steps}")
        return dataclasses.replace(scale, evaluations=self.steps)


BenchOptions = Annotated[Bench, tyro.conf.arg(name="")]


def vaes(
    vae: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    bench: BenchOptions = Bench(),
    common: CommonOptions = Common(),
) -> None:
    """Which VAE's latents are learned faster? The same diffusion model on each, over seeds.

    The same command goes on where it stopped, with more seeds too. Two controls run beside: the
    baseline under other seeds, and its latents with whitened frequencies, which is known to hurt.

    Args:
        vae: NAME=PATH, the option once for each VAE to compare: runs, model folders, names of
            shipped models or hub ids. The one called baseline, or the first, is what others are
            compared with.
    """
    options, named = bench.options("bench-vaes", common), names_of(vae)
    with progress("bench vaes") as advance:
        run_vaes(bench.plan(), options, named, lambda done, total, note: advance(done, note, total))
    _show(options)


def interventions(
    vae: str | None = None,
    bench: BenchOptions = Bench(),
    common: CommonOptions = Common(),
) -> None:
    """Change the spectrum of one VAE's latents by invertible maps, and nothing else.

    The same command goes on where it stopped.

    Args:
        vae: The VAE, a run, a model folder, a shipped model's name or a hub id; the scale's
            baseline is trained where not given.
    """
    options = bench.options("bench-interventions", common)
    with progress("bench interventions") as advance:
        run_interventions(
            bench.plan(), options, vae, lambda done, total, note: advance(done, note, total)
        )
    _show(options)


def _show(options: Options) -> None:
    console.print((options.out / TABLES).read_text(), soft_wrap=True, markup=False)
    console.print(f"results: {options.out}", soft_wrap=True)
