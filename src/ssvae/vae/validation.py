"""How good an autoencoder in training is, on clips that it does not train on."""

import math
from pathlib import Path

import torch
from accelerate import Accelerator

from ssvae.analysis import psnr, ssim
from ssvae.data.batch import Source
from ssvae.data.pixels import to_show
from ssvae.data.video_writer import write_video
from ssvae.models.backbones import Backbone
from ssvae.regularizers import local_correlation
from ssvae.spectra import ChannelSpectrum, FrequencySpectrum


@torch.no_grad()
def validate(
    backbone: Backbone,
    source: Source,
    clips: int,
    batch_size: int,
    accelerator: Accelerator,
    show: Path,
    shown: int,
    fps: float,
) -> dict[str, float]:
    """Reconstruction and spectra over ``clips`` clips of a source, shared among all processes.

    Latents are posterior means. The main process writes a film of ``shown`` clips, each above its
    reconstruction, to ``show``. Returns the same figures on every process.
    """
    process, processes = accelerator.process_index, accelerator.num_processes
    each = math.ceil(clips / processes)
    means, scores, films = [], [], []
    training = backbone.vae.training
    backbone.vae.eval()
    try:
        for start in range(0, each, batch_size):
            own = range(start, min(start + batch_size, each))
            batch = source.batch([process * each + i for i in own]).on(accelerator.device)
            batch = batch.to(backbone.dtype)
            with accelerator.autocast():
                mean = backbone.encode(batch).mean
                reconstruction = backbone.decode(mean).to(batch.dtype)
            means.append(mean.float())
            scores.append(
                torch.stack([psnr(reconstruction, batch), ssim(reconstruction, batch)], 1).to(
                    reconstruction.device
                )
            )
            if start < shown:
                films.append(torch.stack([batch, reconstruction], 1).cpu())
    finally:
        backbone.vae.train(training)
    if films and accelerator.is_main_process:
        pairs = torch.cat(films)[:shown]
        write_pairs(show, pairs[:, 0], pairs[:, 1], fps)
    latents = accelerator.gather(torch.cat(means))
    quality = accelerator.gather(torch.cat(scores))
    assert isinstance(latents, torch.Tensor)
    assert isinstance(quality, torch.Tensor)
    of_psnr, of_ssim = quality.mean(0).tolist()
    return dict(psnr=of_psnr, ssim=of_ssim) | _spectra(latents, backbone.lone_first_frame)


def _spectra(latents: torch.Tensor, lone_first_frame: bool) -> dict[str, float]:
    """What spectra and local correlation of latents (B, C, T, H, W) come to."""
    frequency, channels = FrequencySpectrum(), ChannelSpectrum()
    frequency.update(latents)
    channels.update(latents)
    spectrum, modes = frequency.result(), channels.result()
    window = (1 if latents.shape[2] == 2 else 2, 2, 2)
    return dict(
        local_correlation=float(
            local_correlation(latents.squeeze(2), window, lone_first_frame).average
        ),
        low_share=spectrum.low_share,
        high_share=spectrum.high_share,
        slope=spectrum.slope,
        effective_rank=modes.effective_rank,
        modes_90=float(modes.modes(0.9)),
    )


def write_pairs(path: Path, clips: torch.Tensor, reconstruction: torch.Tensor, fps: float) -> None:
    """Write a film of clips (B, C, T, H, W) side by side, each above its reconstruction."""
    rows = [torch.cat(list(x), dim=-1) for x in (clips, reconstruction)]  # side by side
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, to_show(torch.cat(rows, dim=-2)), fps)
