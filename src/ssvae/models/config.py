"""The shapes that an autoencoder can have, and those that have names."""

from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal

from ssvae.storage.problems import Problems

StudentSize = Literal["small", "medium", "large"]


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of an :class:`AutoencoderKLSSVAE`. The defaults are the published model's."""

    z_dim: int = 48
    """Latent channels."""
    base_channels: int = 32
    """Width of the first convolution; each level's is this times its multiplier."""
    channel_multipliers: tuple[int, ...] = (2, 4, 8, 16, 16)
    """One for each level, from the pixels to the latents."""
    encoder_blocks: int = 3
    """Residual blocks in each level of the encoder."""
    decoder_blocks: int = 4
    """Residual blocks in each level of the decoder."""
    time_factors: tuple[int, ...] = (1, 1, 2, 2)
    """Downsampling in time, 1 or 2, between one level and the next."""
    space_factors: tuple[int, ...] = (2, 2, 2, 2)
    """Downsampling in height and width, 1 or 2, between one level and the next."""
    in_channels: int = 3
    """Of clips that are encoded: red, green and blue; 1 is grey, 4 are colours with alpha."""
    out_channels: int = 3
    """Of clips that are decoded."""
    patch_size: int = 1
    """Side of the squares of pixels that are folded into channels before the first level."""
    attention: bool = True
    """Self-attention inside each frame, at the latents' resolution; its cost grows with the square
    of a frame's latents."""
    latents_mean: tuple[float, ...] | None = None
    """Mean of each latent channel over a data set; zeros where None."""
    latents_std: tuple[float, ...] | None = None
    """Standard deviation of each latent channel over a data set; ones where None."""

    def widest_activation(self) -> float:
        """Values of the largest activation, for a pixel of a frame."""
        factors = zip((1, *self.time_factors), (1, *self.space_factors), strict=True)
        folds = accumulate((t * s**2 for t, s in factors), mul)
        widths = (self.base_channels * m for m in self.channel_multipliers)
        return max(w / f for w, f in zip(widths, folds, strict=True)) / self.patch_size**2

    def __post_init__(self) -> None:
        problems, multipliers = Problems(), self.channel_multipliers
        transitions = max(len(multipliers) - 1, 0)
        for name in ("time_factors", "space_factors"):
            factors = getattr(self, name)
            problems.require(
                len(factors) == transitions and set(factors) <= {1, 2},
                f"{name} must hold a 1 or 2 for each of the {transitions} steps between the "
                f"{len(multipliers)} levels of channel_multipliers, got {factors}",
            )
        problems.require(
            (1, 1) not in zip(self.time_factors, self.space_factors, strict=False),
            "each step between levels must halve time or space or both",
        )
        problems.at_least_1(
            self,
            *("z_dim", "base_channels", "encoder_blocks", "decoder_blocks", "patch_size"),
            *("in_channels", "out_channels"),
        )
        problems.require(
            bool(multipliers) and min(multipliers) >= 1,
            f"channel_multipliers must hold positive integers, got {multipliers}",
        )
        for name in ("latents_mean", "latents_std"):
            values = getattr(self, name)
            problems.require(
                values is None or len(values) == self.z_dim,
                f"{name} must hold {self.z_dim} numbers (z_dim), got {values and len(values)}",
            )
        problems.check("a model cannot be so")


# fmt: off
PRESETS: dict[str, AutoencoderConfig] = {
    # Made to train on two cores: 4x time, 4x space, 16 channels. Without attention what it learns
    # on small clips holds for large ones, at a cost that grows with their size alone.
    "tiny": AutoencoderConfig(
        z_dim=16,
        base_channels=24,
        channel_multipliers=(1, 2, 2),
        encoder_blocks=1,
        decoder_blocks=1,
        time_factors=(2, 2),
        space_factors=(2, 1),
        patch_size=2,
        attention=False,
    ),
    # Made to train on two cores too, for films: the compression of Wan 2.1's.
    "film": AutoencoderConfig(
        z_dim=16,
        base_channels=32,
        channel_multipliers=(1, 2, 2),
        encoder_blocks=1,
        decoder_blocks=2,
        time_factors=(2, 2),
        space_factors=(2, 2),
        patch_size=2,
        attention=False,
    ),
    # A sixth of the published model, of its compression and channels: for one GPU. Without
    # attention, as above.
    "small": AutoencoderConfig(
        z_dim=48,
        base_channels=64,
        channel_multipliers=(1, 2, 4, 4),
        encoder_blocks=2,
        decoder_blocks=2,
        time_factors=(1, 2, 2),
        space_factors=(2, 2, 2),
        patch_size=2,
        attention=False,
    ),
    # arXiv 2512.05394: the published model with its published latent statistics.
    "ssvae-c48-f16t4": AutoencoderConfig(
        latents_mean=(
            -0.1962890625, 0.52734375, -1.3984375, 0.57421875, 0.09326171875, 0.734375,
            -0.427734375, -0.50390625, 0.54296875, 0.0986328125, -0.67578125, 0.15625,
            0.9453125, -0.091796875, 0.2333984375, -0.10986328125, -0.049560546875, 0.74609375,
            -0.76171875, -0.484375, 0.2236328125, 0.5390625, 0.2255859375, -0.474609375,
            -0.126953125, -0.0341796875, 0.023681640625, -0.0211181640625, -1.015625, -0.60546875,
            0.98046875, -0.796875, -0.1884765625, -0.4296875, 0.283203125, 0.34375,
            -0.490234375, 0.021484375, 0.251953125, -0.08154296875, -0.5234375, 0.236328125,
            -0.1826171875, -0.73828125, -0.1796875, -0.6015625, 0.34375, -0.74609375,
        ),
        latents_std=(
            0.69140625, 0.98828125, 2.015625, 1.1640625, 0.64453125, 1.015625,
            1.546875, 0.71484375, 1.359375, 0.96875, 2.0, 0.8828125,
            1.40625, 1.046875, 0.85546875, 1.0234375, 0.88671875, 1.15625,
            1.3125, 0.984375, 1.1328125, 1.8046875, 1.21875, 0.98046875,
            1.0859375, 0.96875, 1.046875, 1.0234375, 1.515625, 1.234375,
            1.796875, 1.5234375, 1.1015625, 1.1484375, 0.94140625, 1.1015625,
            1.3203125, 1.2265625, 1.359375, 1.09375, 0.953125, 0.73046875,
            0.97265625, 1.265625, 1.1953125, 1.1171875, 0.83203125, 1.4140625,
        ),
    ),
}
# fmt: on
