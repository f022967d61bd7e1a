"""What LCR costs a training step: balanced in one pass, in two as published, and not at all.

    python benchmarks/lcr.py [--preset tiny] [--batch 8] [--rounds 60]

The three take turns, so that a machine whose speed drifts is fair to all. Medians are printed,
and the ratios to the step without LCR, round by round.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch

from ssvae.data import World
from ssvae.losses import kl_loss, l1_loss
from ssvae.models import AutoencoderKLSSVAE, DiagonalGaussian
from ssvae.models.blocks import channels_last
from ssvae.regularizers import LocalCorrelation, balance

WEIGHT, KL_WEIGHT = 0.1, 5e-4
penalty = LocalCorrelation(threshold=1.0)  # never satisfied, so that it always costs


def penalty_of(moments: torch.Tensor) -> torch.Tensor:
    return penalty(moments.chunk(2, 1)[0])


def without(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> None:
    posterior = vae.encode(clips).latent_dist
    nll = l1_loss(vae.decode(posterior.sample()).sample, clips)
    (nll + KL_WEIGHT * kl_loss(posterior, clips)).backward()


def one_pass(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> None:
    posterior = vae.encode(clips).latent_dist
    moments = balance(posterior.parameters, penalty_of, vae.encoder.conv_out, WEIGHT)
    nll = l1_loss(vae.decode(DiagonalGaussian(moments).sample()).sample, clips)
    (nll + KL_WEIGHT * kl_loss(posterior, clips)).backward()


def two_passes(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> None:
    posterior = vae.encode(clips).latent_dist
    nll = l1_loss(vae.decode(posterior.sample()).sample, clips)
    p, W = penalty_of(posterior.parameters), vae.encoder.conv_out.weight
    (of_nll,) = torch.autograd.grad(nll, W, retain_graph=True)
    (of_p,) = torch.autograd.grad(p, W, retain_graph=True)
    w = WEIGHT * (of_nll.norm() / (of_p.norm() + 1e-4)).clamp(0, 1e8)
    (nll + w * p + KL_WEIGHT * kl_loss(posterior, clips)).backward()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_default_device(device)
    first = channels_last(AutoencoderKLSSVAE.from_preset(options.preset).train())
    clips = World(options.frames, options.size, options.size, device=device)
    video = clips.batch(range(options.batch)).video
    ways: dict[str, Callable] = {
        "without LCR": without,
        "LCR, one pass": one_pass,
        "LCR, two passes": two_passes,
    }
    runs = {}
    for name in ways:
        vae = copy.deepcopy(first)
        runs[name] = vae, torch.optim.Adam(vae.parameters(), 1e-4, fused=True)

    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(options.rounds + 3):
        order = list(ways)[round_ % 3 :] + list(ways)[: round_ % 3]
        for name in order:
            way = ways[name]
            vae, optimizer = runs[name]
            if device == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            way(vae, video)
            optimizer.step()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_ >= 3:  # the first warm up
                seconds[name].append(time.perf_counter() - began)

    print(
        f"{options.preset}, {options.batch} clips of {options.frames} x {options.size} x "
        f"{options.size}, {device}, {torch.get_num_threads()} threads, {options.rounds} rounds"
    )
    base = seconds["without LCR"]
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"{name:16} {1e3 * statistics.median(values):8.1f} ms   x {ratio:.3f}")


if __name__ == "__main__":
    main()
