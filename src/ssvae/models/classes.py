"""The classes of VAEs that are known: how each one's config is read, and how it is called.

Adding a class is a line of :data:`CLASSES`, and one of the table in docs/own-vae.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ssvae.models.layouts import Layout, Lengths, uniform
from ssvae.models.posterior import DiagonalGaussian

Call = Callable[[Any, torch.Tensor], torch.Tensor]
"""(vae, clips or latents) to what comes out."""


def posterior_of(vae: Any, clips: torch.Tensor) -> Any:
    """What ``encode`` gives: a posterior, latents themselves, or the posterior's parameters where
    it gives a pair of one shape, mean and log variance.
    """
    encoded = vae.encode(clips)
    posterior = getattr(encoded, "latent_dist", encoded)
    if not isinstance(posterior, tuple | list):
        return posterior
    mean, *more = posterior
    tensors = more and all(isinstance(x, torch.Tensor) for x in (mean, more[0]))
    if tensors and mean.shape == more[0].shape:
        return DiagonalGaussian(torch.cat([mean, more[0]], 1))
    return mean


def mean_of(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    """The posterior's mean (B, C, t, h, w)."""
    posterior = posterior_of(vae, clips)
    return posterior if isinstance(posterior, torch.Tensor) else posterior.mean


def moments_of(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    """The posterior's parameters (B, 2C, t, h, w); (B, C, t, h, w) where it has no variance."""
    posterior = posterior_of(vae, clips)
    if isinstance(posterior, torch.Tensor):
        return posterior
    # The mean of diffusers' own class lies in its parameters, whatever else it holds.
    if isinstance(parameters := getattr(posterior, "parameters", None), torch.Tensor):
        return parameters
    logvar = getattr(posterior, "logvar", None)
    return posterior.mean if logvar is None else torch.cat([posterior.mean, logvar], 1)


def sample_of(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """What a VAE of diffusers' way decodes (B, 3, T, H, W)."""
    decoded = vae.decode(z)
    if isinstance(decoded, tuple | list):
        decoded = decoded[0]
    return decoded if isinstance(decoded, torch.Tensor) else decoded.sample


@dataclass(frozen=True)
class VAEClass:
    """How VAEs of a class are read and called."""

    layout: Callable[[Any], Layout]
    """From a model's config."""
    moments: Call = moments_of
    decoded: Call = sample_of
    checkpoints: bool = True
    """Whether it may train under gradient checkpointing, where diffusers says that it may: a cache
    that lies in the module is another when activations are computed again."""


def layout_of(
    config: Any, channels: int, time_factor: int, space_factor: int, **more: Any
) -> Layout:
    """A layout with the statistics that a config names."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    return Layout(
        channels,
        time_factor,
        space_factor,
        tuple(mean) if mean is not None else (0.0,) * channels,
        tuple(std) if std is not None else (1 / scale,) * channels,
        **more,
    )


def _like_wan(config: Any, **more: Any) -> Layout:
    factors = config["scale_factor_temporal"], config["scale_factor_spatial"]
    return layout_of(config, config["z_dim"], *factors, **more)


def _ours(config: Any) -> Layout:
    # Wan's own counts the channels of its patches too.
    return _like_wan(config, **_clip_channels(config))


def _clip_channels(config: Any) -> dict[str, int]:
    return {name: config[name] for name in ("in_channels", "out_channels")}


def _cogvideox(config: Any) -> Layout:
    space = 2 ** (len(config["block_out_channels"]) - 1)
    time = int(config["temporal_compression_ratio"])
    return layout_of(config, config["latent_channels"], time, space)


def _hunyuan(config: Any) -> Layout:
    factors = config["temporal_compression_ratio"], config["spatial_compression_ratio"]
    return layout_of(config, config["latent_channels"], *factors)


_CONDITIONED = (
    "this {} decodes by a noise level too (timestep_conditioning), which a plain VAE has not: "
    "choose one without"
)


def _ltx(config: Any) -> Layout:
    if config["timestep_conditioning"]:
        raise ValueError(_CONDITIONED.format("AutoencoderKLLTXVideo"))
    halvings = sum(config["spatio_temporal_scaling"])
    time = config["temporal_compression_ratio"] or config["patch_size_t"] * 2**halvings
    space = config["spatial_compression_ratio"] or config["patch_size"] * 2**halvings
    return layout_of(config, config["latent_channels"], time, space)


def _mochi(config: Any) -> Layout:
    factors = math.prod(config["temporal_expansions"]), math.prod(config["spatial_expansions"])
    return layout_of(config, config["latent_channels"], *factors)


def _cosmos(config: Any) -> Layout:
    factors = config["temporal_compression_ratio"], config["spatial_compression_ratio"]
    channels = config["latent_channels"]
    # Its statistics are written frame by frame.
    plain = {
        name: None if len(config.get(name) or ()) != channels else config[name]
        for name in ("latents_mean", "latents_std")
    }
    return layout_of(dict(config) | plain, channels, *factors, has_variance=False)


def _vidtok(config: Any) -> Layout:
    if config["regularizer"] != "kl" or not config["is_causal"]:
        raise ValueError(
            "this AutoencoderVidTok has "
            + ("discrete latents" if config["regularizer"] != "kl" else "no causal time")
            + ", got regularizer={regularizer!r} and is_causal={is_causal}: choose one with the kl "
            "regularizer that is causal".format(**config)
        )
    levels = len(config["ch_mult"])
    space = config["spatial_ds"] if config["spatial_ds"] is not None else range(levels - 1)
    time = config["tempo_ds"] if config["tempo_ds"] is not None else range(levels - 3, levels - 1)
    factors = 2 ** len(time), 2 ** len(space)
    return layout_of(config, config["z_channels"], *factors)


def _image(config: Any) -> Layout:
    space = 2 ** (len(config["block_out_channels"]) - 1)
    channels = config["latent_channels"]
    return layout_of(config, channels, 1, space, of_images=True, **_clip_channels(config))


def _one_at_a_time(call: Call) -> Call:
    """For a class whose attention takes one clip alone."""
    return lambda vae, x: torch.cat([call(vae, one) for one in x.split(1)])


def _ltx2(config: Any) -> Layout:
    if config["timestep_conditioning"]:
        raise ValueError(_CONDITIONED.format("AutoencoderKLLTX2Video"))
    kinds = config["downsample_type"]
    halves = config["spatio_temporal_scaling"]
    halves = (halves,) * len(kinds) if isinstance(halves, bool) else halves
    steps = [kind for kind, half in zip(kinds, halves, strict=True) if half]
    space = config["patch_size"] * 2 ** sum(kind != "temporal" for kind in steps)
    time = config["patch_size_t"] * 2 ** sum(kind != "spatial" for kind in steps)
    return layout_of(
        config,
        config["latent_channels"],
        config["temporal_compression_ratio"] or time,
        config["spatial_compression_ratio"] or space,
    )


def _kvae(config: Any) -> Layout:
    space = 2 ** (len(config["ch_mult"]) - 1)
    time = config["temporal_compress_times"]
    return layout_of(config, config["z_channels"], time, space, has_variance=False)


def _kvae_moments(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    # Behind the mean stand zeros, which would be a variance of one.
    return moments_of(vae, clips).chunk(2, 1)[0]


def _qwen(config: Any) -> Layout:
    halvings = config["temperal_downsample"]
    return layout_of(config, config["z_dim"], 2 ** sum(halvings), 2 ** len(halvings))


def _magvit(config: Any) -> Layout:
    levels = len(config["block_out_channels"])
    return layout_of(config, config["latent_channels"], 2 ** (levels - 2), 2 ** (levels - 1))


def _allegro(config: Any) -> Layout:
    time = int(config["temporal_compression_ratio"])
    space = 2 ** (len(config["block_out_channels"]) - 1)
    return layout_of(config, config["latent_channels"], time, space, lengths=uniform(time))


def _frame_by_frame(layer: Any, x_BCTHW: torch.Tensor) -> torch.Tensor:
    B = x_BCTHW.shape[0]
    return layer(x_BCTHW.transpose(1, 2).flatten(0, 1)).unflatten(0, (B, -1)).transpose(1, 2)


def _allegro_moments(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    # Its own encode takes tiles of one size alone; a clip of that size gives the same (tested).
    return _frame_by_frame(vae.quant_conv, vae.encoder(clips))


def _allegro_decoded(vae: Any, z: torch.Tensor) -> torch.Tensor:
    return vae.decoder(_frame_by_frame(vae.post_quant_conv, z))


def _minimax(config: Any) -> Layout:
    """Clips of ``clip_length`` frames are encoded each for itself, and of the last the tail is
    dropped.
    """
    time = math.prod(config["temporal_downsample_factors"])
    space = math.prod(config["spatial_downsample_factors"])
    clip, dropped = config["clip_length"], config["token_drop"]
    latents = -(-clip // time)
    rest = latents - dropped
    lengths = Lengths(clip, clip - dropped * time, latents, rest, least=int(dropped > 0))
    return layout_of(config, config["latent_channels"], time, space, lengths=lengths)


def _vidtok_moments(vae: Any, clips: torch.Tensor) -> torch.Tensor:
    # Its first latent frame is of several frames: the first frame, repeated before it.
    period = _vidtok(vae.config).time_factor
    repeats = clips[:, :, :1].expand(-1, -1, period - 1, -1, -1)
    return moments_of(vae, torch.cat([repeats, clips], 2))


CLASSES: dict[str, VAEClass] = {
    "AutoencoderKLSSVAE": VAEClass(_ours),
    "AutoencoderKLWan": VAEClass(_like_wan),
    "AutoencoderKLCogVideoX": VAEClass(_cogvideox),
    "AutoencoderKLHunyuanVideo": VAEClass(_hunyuan),
    "AutoencoderKLHunyuanVideo15": VAEClass(
        _hunyuan, _one_at_a_time(moments_of), _one_at_a_time(sample_of)
    ),
    "AutoencoderKLLTXVideo": VAEClass(_ltx),
    "AutoencoderKLLTX2Video": VAEClass(_ltx2),
    "AutoencoderKLMochi": VAEClass(_mochi),
    "AutoencoderKLCosmos": VAEClass(_cosmos),
    "AutoencoderVidTok": VAEClass(_vidtok, _vidtok_moments),
    "AutoencoderKLKVAEVideo": VAEClass(_kvae, _kvae_moments, checkpoints=False),
    "AutoencoderKLQwenImage": VAEClass(_qwen),
    "AutoencoderKLMagvit": VAEClass(_magvit, checkpoints=False),
    "AutoencoderKLAllegro": VAEClass(
        _allegro, _allegro_moments, _allegro_decoded, checkpoints=False
    ),
    "AutoencoderKLMiniMaxH3": VAEClass(_minimax),
    "AutoencoderKL": VAEClass(_image),
}
