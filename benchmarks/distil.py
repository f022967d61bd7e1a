r"""A student against its teacher: swaps of latents, speed and memory, on films unseen by both.

    python benchmarks/distil.py --teacher film --student runs/student --videos DIR \
        --out results/distil/film.json
    python benchmarks/distil.py --sizes --out results/distil/sizes.json   # the published layout
    python benchmarks/distil.py --steps --out results/distil/steps.json   # what a cache spares

Clips as evaluate reconstruction takes them; PSNR over [0, 1], the mean over clips. Seconds and
memory are of one clip on one thread, the median of three after a first.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from autoencoder import machine
from ssvae import AutoencoderKLSSVAE
from ssvae.analysis import psnr, ssim
from ssvae.analysis.cost import measure_cost
from ssvae.analysis.subject import Subject
from ssvae.data import open_fixed
from ssvae.losses import find_lpips, of_frames
from ssvae.models.backbones import Backbone
from ssvae.models.config import StudentSize
from ssvae.models.finding import open_vae
from ssvae.models.students import student_of
from ssvae.recipes import distil
from ssvae.storage.files import write_json
from ssvae.vae.distillation import Distillation

STUDENTS: tuple[StudentSize, ...] = ("small", "medium", "large")


@torch.no_grad()
def quality(
    encoder: Backbone, decoder: Backbone, batches: list[torch.Tensor], lpips
) -> dict[str, float]:
    """What one encodes and another decodes, against the clips."""
    rows = []
    for clips in batches:
        reconstruction = decoder.decode(encoder.encode(clips).mean).float().clamp(-1, 1)
        scores = [psnr(reconstruction, clips), ssim(reconstruction, clips)]
        if lpips is not None:
            scores.append(of_frames(lpips, reconstruction, clips).mean(1))
        rows.append(torch.stack([s.double() for s in scores], 1))
    means = torch.cat(rows).mean(0).tolist()
    return dict(zip(("psnr", "ssim", "lpips"), means, strict=False))


def seconds(work: Callable[[], object]) -> float:
    """The median of three, after a first."""
    work()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@torch.no_grad()
def time_sizes(out: Path | None) -> None:
    """Decoders of students with the published model's latents beside its own: 17 frames of
    256x256.
    """
    published = AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4").eval()
    layout = Backbone(published).layout
    vaes = {size: AutoencoderKLSSVAE(**vars(student_of(layout, size))).eval() for size in STUDENTS}
    z = torch.randn(1, layout.channels, 5, 16, 16)
    rows = []
    for name, vae in {**vaes, "published": published}.items():
        parameters = sum(p.numel() for p in vae.decoder.parameters())
        taken = seconds(lambda vae=vae: vae.decode(z))
        rows.append(dict(model=name, decoder_parameters=parameters, decode_seconds=taken))
        print(rows[-1], flush=True)
    if out:
        write_json(out, dict(frames=17, size=[256, 256], rows=rows, machine=machine()), indent=1)


def time_steps(out: Path | None) -> None:
    """A step of a small student, forth and back, with its teacher's encoder and with a cache: two
    clips of 9x64x64.
    """
    generator, rows = torch.Generator().manual_seed(0), []
    clips = torch.rand(2, 3, 9, 64, 64) * 2 - 1
    published = AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4").eval()
    for name, teacher in (("film", open_vae("film")), ("published", Backbone(published))):
        student = AutoencoderKLSSVAE(**vars(student_of(teacher.layout, "small")))
        recipe = replace(distil(), teacher=name, data="world")
        learned = Distillation(Backbone(student), teacher, recipe).train()
        with torch.no_grad():
            moments = teacher.encode(clips).parameters

        def step(known: torch.Tensor | None, learned: Distillation = learned) -> None:
            learned(clips, generator, moments=known).loss.backward()

        encoding, cached = (seconds(lambda known=known: step(known)) for known in (None, moments))
        rows.append(dict(teacher=name, encoding_seconds=encoding, cached_seconds=cached))
        print(rows[-1], flush=True)
    if out:
        write_json(
            out, dict(clips=2, frames=9, size=[64, 64], rows=rows, machine=machine()), indent=1
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher")
    parser.add_argument("--student")
    parser.add_argument("--videos")
    parser.add_argument("--sizes", action="store_true", help="time students of the published shape")
    parser.add_argument("--steps", action="store_true", help="time steps with and without a cache")
    parser.add_argument("--said", help="what the videos are, in the file of results")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sizes:
        return time_sizes(options.out)
    if options.steps:
        return time_steps(options.out)
    if not (options.teacher and options.student and options.videos):
        parser.error("give --teacher, --student and --videos, or --sizes, or --steps")
    models = {name: open_vae(getattr(options, name)) for name in ("teacher", "student")}
    height, width = options.size
    source = open_fixed(
        options.videos, options.clips, options.frames, height, width, None, 1, "cpu"
    )
    batches = [batch.video for batch in source.batches(1, 0, 1)]
    lpips = find_lpips(None, None)
    rows = []
    for encoder in models:
        for decoder in models:
            found = quality(models[encoder], models[decoder], batches, lpips)
            rows.append(dict(encoder=encoder, decoder=decoder, **found))
            print(rows[-1], flush=True)
    costs = {}
    for name, model in models.items():
        with torch.no_grad():
            z = model.encode(batches[0]).mean
        taken = dict(
            parameters=sum(p.numel() for p in model.vae.parameters()),
            encode_seconds=seconds(lambda m=model: m.encode(batches[0])),
            decode_seconds=seconds(lambda m=model, z=z: m.decode(z)),
        )
        cost = measure_cost(Subject.of(model), batches[0])
        taken |= dict(
            encode_megabytes=cost.encode_megabytes, decode_megabytes=cost.decode_megabytes
        )
        costs[name] = taken
        print(name, taken, flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        about = dict(
            teacher=options.teacher, videos=options.said or options.videos, clips=len(batches),
            frames=options.frames, size=list(options.size),
        )  # fmt: skip
        write_json(options.out, dict(**about, rows=rows, costs=costs, machine=machine()), indent=1)


if __name__ == "__main__":
    main()
