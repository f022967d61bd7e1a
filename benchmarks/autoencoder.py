r"""What the autoencoder costs: ours, ours by its definition with every saving off, and Wan 2.2's.

    python benchmarks/autoencoder.py [--frames 17] [--size 128] [--images 8] [--rounds 3] \
        [--out DIR]

One run on the same clips, weights drawn at random. The contestants take turns; the best round
counts. Multiply-adds are those of the convolutions that really run. The share of the peak is the
time that a contestant's convolutions would take, each at the best time measured for its shape in
any memory layout, over the time it took in all. Memory is the growth of the process's peak, in a
process of its own with the C library's arena switched off, so that what was freed is not counted.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLWan
from torch.utils._python_dispatch import TorchDispatchMode

from ssvae import AutoencoderKLSSVAE
from ssvae.models.blocks import channels_last
from ssvae.models.plain import plain_decode, plain_encode

WAN_22: dict[str, Any] = dict(
    base_dim=160,
    decoder_base_dim=256,
    z_dim=48,
    is_residual=True,
    in_channels=12,
    out_channels=12,
    patch_size=2,
    dim_mult=[1, 2, 4, 4],
    num_res_blocks=2,
    temperal_downsample=[False, True, True],
    scale_factor_spatial=16,
    latents_mean=[0.0] * 48,
    latents_std=[1.0] * 48,
)
CONTESTANTS = ("ours", "plain form", "Wan 2.2")
TASKS = ("encode video", "decode video", "encode images", "decode images")
Tensor = torch.Tensor


@dataclass
class Result:
    """One task of one contestant."""

    seconds: float
    multiply_adds: float
    share_of_peak: float
    megabytes: float


def build(name: str, preset: str) -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]:
    """How a contestant encodes and decodes."""
    torch.manual_seed(0)
    if name == "Wan 2.2":
        wan: Any = AutoencoderKLWan(**WAN_22).eval()
        return lambda x: wan.encode(x).latent_dist.mean, lambda z: wan.decode(z).sample
    vae: Any = AutoencoderKLSSVAE.from_preset(preset).eval()
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.01)
    if name == "plain form":
        return lambda x: plain_encode(vae, x), lambda z: plain_decode(vae, z)
    channels_last(vae)
    return lambda x: vae.encode(x).latent_dist.mean, lambda z: vae.decode(z).sample


def inputs(options: argparse.Namespace) -> dict[str, Tensor]:
    """What each task takes."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        vae = AutoencoderKLSSVAE.from_preset(options.preset)
    side, channels = options.size // vae.space_factor, vae.config["z_dim"]
    later = (options.frames - 1) // vae.time_factor + 1
    shapes = (
        (1, 3, options.frames, options.size, options.size),
        (1, channels, later, side, side),
        (options.images, 3, 1, options.size, options.size),
        (options.images, channels, 1, side, side),
    )
    return {
        task: torch.randn(*shape, generator=generator).clamp(-1, 1)
        for task, shape in zip(TASKS, shapes, strict=True)
    }


class Convolutions(TorchDispatchMode):
    """Counts the convolutions that run, by their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name in ("aten::convolution", "aten::mkldnn_convolution"):
            x, weight = args[:2]
            stride, padding = (
                (args[3], args[4]) if name == "aten::convolution" else (args[4], args[3])
            )
            key = tuple(x.shape), tuple(weight.shape), tuple(stride), tuple(padding)
            self.seen[key] += 1
        return func(*args, **(kwargs or {}))


def multiply_adds(shape: tuple) -> float:
    """Of a convolution: (input, weight, stride, padding)."""
    x, w, stride, padding = shape
    positions = x[0]
    for n, kernel, s, p in zip(x[2:], w[2:], stride, padding, strict=True):
        positions *= (n + 2 * p - kernel) // s + 1
    taps = w[0] * w[1]
    for kernel in w[2:]:
        taps *= kernel
    return float(positions * taps)


def best_time(shape: tuple, seconds: float = 0.3) -> float:
    """The fastest that this convolution was seen to run, in either layout and by either
    function.
    """
    x_shape, w_shape, stride, padding = shape
    x, w, dims = torch.randn(x_shape), torch.randn(w_shape), len(x_shape) - 2
    last = torch.channels_last_3d if dims == 3 else torch.channels_last
    best = float("inf")
    for layout in (torch.contiguous_format, last):
        a, b = (t.contiguous(memory_format=layout) for t in (x, w))
        ways: list[Callable[[], Any]] = [
            lambda a=a, b=b: torch.mkldnn_convolution(a, b, None, padding, stride, (1,) * dims, 1),
            lambda a=a, b=b: torch.convolution(
                a, b, None, stride, padding, (1,) * dims, False, (0,) * dims, 1
            ),
        ]
        for way in ways:
            way()
            spent, rounds = 0.0, 0
            while rounds < 3 or (spent < seconds and rounds < 30):
                began = time.perf_counter()
                way()
                took = time.perf_counter() - began
                best, spent, rounds = min(best, took), spent + took, rounds + 1
    return best


def status(field: str) -> float:
    """A field of this process's memory, in MB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field))


def measure_memory(options: argparse.Namespace, name: str, task: str) -> None:
    """Print the growth of the peak over the process that has the model and the input ready."""
    coders, x = build(name, options.preset), inputs(options)[task]
    with torch.no_grad():
        small = x[:1, :, :1]
        coders[task.startswith("decode")](small)  # what a first call loads is not counted
        before = status("VmRSS")
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
        coders[task.startswith("decode")](x)
    print(status("VmHWM") - before)


def memory(options: argparse.Namespace, name: str, task: str) -> float:
    """Peak memory of a task in a process of its own, in MB."""
    words = [sys.executable, __file__, "--memory-of", name, task, "--preset", options.preset]
    for field in ("frames", "size", "images"):
        words += [f"--{field}", str(getattr(options, field))]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    with open("/proc/cpuinfo") as lines:
        model = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    return dict(
        processor=model,
        instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        diffusers=diffusers.__version__,
        date=datetime.date.today().isoformat(),
    )


def measure(options: argparse.Namespace) -> dict[str, dict[str, Result]]:
    """All tasks of all contestants."""
    names = [n for n in CONTESTANTS if n not in options.without]
    coders, given = {name: build(name, options.preset) for name in names}, inputs(options)
    seconds: dict[tuple[str, str], list[float]] = {}
    shapes: dict[tuple[str, str], Counter[tuple]] = {}
    with torch.no_grad():
        for round_ in range(options.rounds + 1):
            for task in TASKS:
                for name in names:
                    run = coders[name][task.startswith("decode")]
                    if round_ == 0:  # warms up, and counts
                        with Convolutions() as mode:
                            run(given[task])
                        shapes[name, task] = mode.seen
                        continue
                    began = time.perf_counter()
                    run(given[task])
                    took = time.perf_counter() - began
                    seconds.setdefault((name, task), []).append(took)
                    print(f"{name}: {task} {took:.2f} s", file=sys.stderr, flush=True)
        peaks = {s: best_time(s) for s in {s for seen in shapes.values() for s in seen}}
    results: dict[str, dict[str, Result]] = {name: {} for name in names}
    for (name, task), values in seconds.items():
        seen, took = shapes[name, task], min(values)
        results[name][task] = Result(
            seconds=took,
            multiply_adds=sum(n * multiply_adds(s) for s, n in seen.items()),
            share_of_peak=sum(n * peaks[s] for s, n in seen.items()) / took,
            megabytes=memory(options, name, task),
        )
        spread = statistics.median(values) / took
        print(f"{name}: {task}: median {spread:.2f} times the best", file=sys.stderr, flush=True)
    return results


def table(options: argparse.Namespace, results: dict[str, dict[str, Result]]) -> str:
    """The figures as Markdown; ratios are to ours."""
    lines = [
        "| | | seconds | | multiply-adds | of the convolution peak | peak memory | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task in TASKS:
        ours = results["ours"][task]
        for name, tasks in results.items():
            r = tasks[task]
            lines.append(
                f"| {task} | {name} | {r.seconds:.2f} | x {r.seconds / ours.seconds:.2f} "
                f"| {r.multiply_adds / 1e12:.3f} T | {100 * r.share_of_peak:.0f} % "
                f"| {r.megabytes:.0f} MB | x {r.megabytes / ours.megabytes:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="ssvae-c48-f16t4")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=8, help="in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=CONTESTANTS[1:])
    parser.add_argument("--out", type=Path, help="folder for results.json and table.md")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        measure_memory(options, *options.memory_of)
        return
    results = measure(options)
    text = table(options, results)
    about = (
        f"{options.preset}: a video of {options.frames} frames, a batch of {options.images} "
        "images, "
        f"{options.size}x{options.size}, float32, best of {options.rounds} rounds; "
        + ", ".join(f"{k} {v}" for k, v in machine().items())
    )
    print(f"{about}\n\n{text}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.md").write_text(f"{about}\n\n{text}\n")
        settings = {
            k: getattr(options, k) for k in ("preset", "frames", "size", "images", "rounds")
        }
        content = dict(
            command=shlex.join(["python", *sys.argv]),
            settings=settings,
            machine=machine(),
            results={
                name: {task: dataclasses.asdict(r) for task, r in tasks.items()}
                for name, tasks in results.items()
            },
        )
        (options.out / "results.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
