"""What it takes to share a clip among processes: memory for each, bytes that travel, and seconds.

    python benchmarks/strips.py --preset film --size 512 --out results/strips/film.json

Each count of processes runs on its own, on this machine, one thread each; seconds say little where
there are fewer cores than processes. Weights are random: nothing here depends on them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from autoencoder import machine, status
from ssvae import AutoencoderKLSSVAE
from ssvae.storage.files import write_json

NVLINK = 450e9  # bytes a second in one direction, of an H100, as its maker states it


def measure(options: argparse.Namespace) -> None:
    """One of the processes: prints what it took."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    vae = AutoencoderKLSSVAE.from_preset(options.preset).eval()
    vae.parallelize()
    # A frame takes several pieces, so that memory is that of a clip of any length.
    vae.enable_streaming(4 * vae.time_factor)
    side = vae.space_factor
    x = torch.rand(1, 3, options.frames, options.size, options.size) * 2 - 1
    z = torch.randn(
        1, vae.config["z_dim"], 1 + (options.frames - 1) // vae.time_factor,
        options.size // side, options.size // side,
    )  # fmt: skip
    tasks = {"encode": lambda part: vae.encode(part[0]), "decode": lambda part: vae.decode(part[1])}
    found = {}
    with torch.no_grad():
        for name, task in tasks.items():
            coder = getattr(vae, f"{name}r")
            task((x[:, :, :1], z[:, :, :1]))  # what a first call loads is not counted
            sent = coder.strips.sent if coder.strips else 0
            dist.barrier()
            before = status("VmRSS")
            with open("/proc/self/clear_refs", "w") as reset:
                reset.write("5")
            began = time.perf_counter()
            task((x, z))
            found[name] = dict(
                seconds=time.perf_counter() - began,
                megabytes=status("VmHWM") - before,
                sent=(coder.strips.sent if coder.strips else 0) - sent,
            )
    every = [None] * dist.get_world_size()
    dist.all_gather_object(every, found)
    if dist.get_rank() == 0:
        print(json.dumps(every))
    dist.destroy_process_group()


def started(options: argparse.Namespace, count: int) -> list[dict]:
    """What each of so many processes says."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += [f"--nproc-per-node={count}", __file__, "--measure"]
    for field in ("preset", "frames", "size"):
        words += [f"--{field}", str(getattr(options, field))]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="film")
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options)
    rows = []
    print(
        "| | processes | most memory of one (MB) | sent by one (MB) | a frame (MB) | by NVLink (ms "
        "a frame) | seconds |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in options.processes:
        every = started(options, count)
        for task in ("encode", "decode"):
            most = {key: max(each[task][key] for each in every) for key in every[0][task]}
            rows.append(dict(task=task, processes=count, **most))
            sent = most["sent"]
            print(
                f"| {task} | {count} | {most['megabytes']:.0f} | {sent / 1e6:.1f} | "
                f"{sent / 1e6 / options.frames:.2f} | {sent / options.frames / NVLINK * 1e3:.4f} | "
                f"{most['seconds']:.1f} |",
                flush=True,
            )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        about = dict(preset=options.preset, frames=options.frames, size=options.size)
        write_json(options.out, dict(**about, rows=rows, machine=machine()), indent=1)


if __name__ == "__main__":
    main()
