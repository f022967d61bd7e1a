r"""What an update costs: our step, and the published way of making the same updates.

    python benchmarks/training.py [--preset small] [--frames 17] [--size 64] [--batch 1] \
        [--rounds 8]

An update is one of the model and one of its discriminators (before the GAN starts, of the model
alone). Ours takes one forward and one backward pass for both. The published way takes a batch for
each: for the model forward, backward through the decoder for LCR's balance, and backward; for the
discriminators forward once more, with gradients that nobody asks for. Both are timed on our network
and on its plain form (upsampling before its convolution, frames copied), so that what the step
saves and what the network saves stand apart. Everyone takes turns; medians, and ratios round by
round. LPIPS is left out: it costs both the same.
"""

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from ssvae.data import Batch, World
from ssvae.losses import generator_loss, hinge_loss, kl_loss, l1_loss
from ssvae.models import PRESETS, AutoencoderKLSSVAE, DiagonalGaussian
from ssvae.models.plain import plain_decode, plain_encode
from ssvae.recipes import small
from ssvae.regularizers import LCRConfig, local_correlation
from ssvae.training import make_accelerator
from ssvae.vae import GANConfig, PerceptualConfig
from ssvae.vae.objective import Objective
from ssvae.vae.recipe import ClipConfig, ImagesConfig, VAERecipe
from ssvae.vae.trainer import VAETrainer

LCR_WEIGHT, THRESHOLD = 0.002, 1.0  # never satisfied, so that it always costs


def recipe_of(options: argparse.Namespace, gan: bool) -> VAERecipe:
    return dataclasses.replace(
        small(),
        model=PRESETS[options.preset],
        clip=ClipConfig(options.frames, options.size, options.size),
        images=ImagesConfig(),
        perceptual=PerceptualConfig(),
        lcr=LCRConfig(enabled=True, weight=LCR_WEIGHT, threshold=THRESHOLD),
        gan=GANConfig(start=0 if gan else None),
        batch_size=options.batch,
        ema_decay=0.0,
    )


def published(trainer: VAETrainer, clips: torch.Tensor) -> None:
    """The published loop's two batches."""
    vae, objective = trainer.backbone.vae, trainer.objective
    judge = trainer.adversary and trainer.adversary.discriminator

    assert isinstance(objective, Objective)
    masking = objective.regularization.masking

    def reconstruct() -> tuple[DiagonalGaussian, torch.Tensor]:
        posterior = vae.encode(clips).latent_dist
        return posterior, vae.decode(masking(posterior.sample())).sample

    def norm(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, weight, retain_graph=True)[0].norm()

    posterior, reconstruction = reconstruct()
    nll = l1_loss(reconstruction, clips)
    last = vae.encoder.conv_out.weight
    penalty = torch.relu(THRESHOLD - local_correlation(posterior.mean).average)
    weight = LCR_WEIGHT * norm(nll, last) / (norm(penalty, last) + 1e-4)
    loss = nll + 5e-4 * kl_loss(posterior, clips) + weight * penalty
    if judge is not None:
        generator = generator_loss(judge(reconstruction))
        of_decoder = vae.decoder.conv_out.weight
        loss = loss + norm(nll, of_decoder) / (norm(generator, of_decoder) + 1e-4) * generator
    loss.backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
    trainer.optimizers[0].step()
    trainer.optimizers[0].zero_grad()

    _, reconstruction = (
        reconstruct()
    )  # the discriminators' batch, which there is before they start too
    if judge is not None and trainer.adversary is not None:
        judge.zero_grad()
        scores = judge(torch.cat([clips, reconstruction.detach()]))
        hinge_loss(*([s.tensor_split(2)[i] for s in scores] for i in (0, 1))).backward()
        trainer.adversary.optimizer.step()


def ours(trainer: VAETrainer, clips: torch.Tensor) -> None:
    trainer.step(1, (Batch(clips, [""] * len(clips)),))


def with_plain_form(vae: AutoencoderKLSSVAE) -> None:
    """Every saving of the network off."""
    vae.encoder.forward = lambda x, cache=None: (plain_encode(vae, x), None)  # type: ignore[method-assign]
    vae.decoder.forward = lambda z, cache=None: (plain_decode(vae, z), None)  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    options = parser.parse_args()

    accelerator = make_accelerator("auto", options.dtype)
    device = accelerator.device
    size = options.frames, options.size, options.size
    clips = World(*size, device=device).batch(range(options.batch)).video
    print(
        f"{options.preset}, {options.batch} clips of {'x'.join(map(str, size))}, {device.type}, "
        f"{options.dtype}, {torch.get_num_threads()} threads, {options.rounds} rounds"
    )
    for gan in (True, False):
        trainer = VAETrainer(recipe_of(options, gan), accelerator)
        plain = copy.deepcopy(trainer.backbone.vae)  # before anything is patched
        other = VAETrainer(recipe_of(options, gan), accelerator)
        other.backbone.vae.load_state_dict(plain.state_dict())
        with_plain_form(other.backbone.vae)
        ways: dict[str, tuple[Callable, VAETrainer]] = {
            "our step, our network": (ours, trainer),
            "our step, plain form": (ours, other),
            "published step, our network": (published, trainer),
            "published step, plain form": (published, other),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(options.rounds + 1):
            for name, (way, which) in ways.items():
                began = time.perf_counter()
                with accelerator.autocast():
                    way(which, clips)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if round_:  # the first warms up
                    seconds[name].append(time.perf_counter() - began)
        print("\nwith the GAN" if gan else "\nbefore the GAN")
        base = seconds["our step, our network"]
        for name, values in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
            print(f"{name:28} {statistics.median(values):7.2f} s   x {ratio:.2f}")
        for kind in ("our network", "plain form"):
            pairs = zip(
                seconds[f"published step, {kind}"], seconds[f"our step, {kind}"], strict=True
            )
            print(f"the step saves x {statistics.median(a / b for a, b in pairs):.2f} on {kind}")


if __name__ == "__main__":
    main()
