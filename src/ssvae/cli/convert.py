"""Commands about models as files: the published checkpoint, and latent statistics."""

from pathlib import Path

import torch
import tyro
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, print_rows, progress
from ssvae.data import open_source
from ssvae.inference.onnx_export import export_onnx as write_onnx
from ssvae.inference.onnx_export import parts_of
from ssvae.latents import encode_clips
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from ssvae.models.channels import with_channels
from ssvae.models.finding import find_masking, find_vae, load_vae
from ssvae.models.official import fetch_official, load_official, save_official
from ssvae.models.shipped import shipped_folder
from ssvae.regularizers import LatentMasking
from ssvae.report.tables import Row
from ssvae.spectra import ChannelSpectrum
from ssvae.storage.files import (
    by_umask,
    check_apart,
    check_empty,
    check_file,
    check_folder,
    sealed_above,
)


def convert(
    source: tyro.conf.Positional[str],
    target: tyro.conf.Positional[Path],
    to_official: bool = False,
    channels: int | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Convert a checkpoint of the published code into a model's folder, or the other way round.

    Of a run, a checkpoint or a shipped model it makes a folder of its own, which may be changed.
    With --channels, a model of three channels becomes one of four, which keeps alpha, or of one,
    for grey: it does what it did, and can be trained on.

    Args:
        source: A checkpoint of the published code: a file, or a hub id such as zai-org/SSVAE
            (owner/name/file where the repository holds several). Or a run, a checkpoint, a model's
            folder, or one that comes with ssvae.
        target: The folder to write, for from_pretrained; with --to-official the file, NAME.ckpt.
        to_official: Write a checkpoint that the published code loads.
        channels: Channels of the clips, 4 or 1; SOURCE is then any model of three.
    """
    dtype = common.torch_dtype
    if to_official and channels is not None:
        raise ValueError("the published code knows three channels alone: leave out --channels")
    if to_official:
        check_file(target)
        vae, masking = load_vae(source, dtype=dtype), LatentMasking.load(find_masking(source))
        save_official(vae, masking, target)
        console.print(f"{_size(vae)} written to {target}", soft_wrap=True)
        return
    if target.exists() and not target.is_dir():
        raise ValueError(f"cannot write {target}: it is a file, and a model is a folder")
    check_apart(target, source)
    check_folder(target)
    if not (target / SAFETENSORS_WEIGHTS_NAME).is_file():  # a model may be replaced by another
        check_empty(target)
    if _is_official(source, channels):
        vae, masking = load_official(fetch_official(source))
        torch.nn.Module.to(vae, dtype)
    else:
        vae, masking = load_vae(source, dtype=dtype), _masking_of(source)
    if channels is not None:
        vae = with_channels(vae, channels)
    vae.save_pretrained(target)
    if masking is not None:
        masking.save(target / "masking.safetensors")
    by_umask(target)
    console.print(f"{_size(vae)} written to {target}", soft_wrap=True)
    if vae.config["latents_std"] == [1.0] * vae.config["z_dim"]:
        console.print(
            f"its latent statistics are not known: ssvae stats {target} --videos SRC --write",
            soft_wrap=True,
        )


def _is_official(source: str, channels: int | None) -> bool:
    """Whether that is a file or a hub id, and no model of ours; what is neither is told as the
    former.
    """
    path = Path(source)
    if path.is_dir():
        return not any((path / name).exists() for name in ("config.json", "checkpoints", "vae"))
    named = shipped_folder(source) is None and (channels is None or "/" in source)
    return path.is_file() or named


def _masking_of(model: str) -> LatentMasking | None:
    """What lies beside a model; nothing where it was trained without."""
    try:
        found = find_masking(model)
    except ValueError:
        return None
    return LatentMasking.load(found)


def _size(vae: AutoencoderKLSSVAE) -> str:
    count = sum(p.numel() for p in vae.parameters())
    return f"{count / 1e6:.2f} M parameters in {str(vae.dtype).removeprefix('torch.')}"


def export_onnx(
    model: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    common: CommonOptions = Common(),
) -> None:
    """Write encoder and decoder as ONNX graphs, whole and as steps of a stream, and check them.

    Six files of any batch, length and size, float32, each compared with the model by onnxruntime on
    the CPU at several sizes: more than 1e-4 of the largest value apart is an error.

    Args:
        model: A run, a checkpoint, a model folder, or one that comes with ssvae.
        out: The folder to write.
    """
    if common.torch_dtype != torch.float32 or common.device == "cuda":
        raise ValueError(
            "graphs are exported in float32 on the CPU: leave out --dtype and --device"
        )
    vae = load_vae(model)
    check_apart(out, model)
    parts = parts_of(vae)
    with progress("exporting", len(parts)) as advance:
        apart = write_onnx(vae, out, parts, on_part=advance)
    rows = [
        Row(f"{part}.onnx", (f"{most:.1g}",), "of its largest value")
        for part, most in apart.items()
    ]
    print_rows(["differs by"], rows)
    console.print(f"written to {out}", soft_wrap=True)


def stats(
    model: tyro.conf.Positional[Path],
    videos: str,
    clips: int = 256,
    frames: int = 17,
    size: tuple[int, int] = (128, 128),
    fps: float | None = None,
    seed: int = 0,
    write: bool = False,
    common: CommonOptions = Common(),
) -> None:
    """Mean and standard deviation of each latent channel, which diffusion models standardise by.

    Args:
        model: A trained model: a run, a checkpoint or a model folder.
        videos: A video, a folder of videos, "world", or "stills:FOLDER".
        clips: Number of clips, drawn at random by the seed.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the draw of clips.
        write: Write them into the model's config, as latents_mean and latents_std.
    """
    if write and (sealed := sealed_above(find_vae(model))):
        raise ValueError(
            f"--write changes no checkpoint, nor a model that comes with ssvae, as {sealed} is: "
            f"ssvae convert {model} DIR makes a copy, then ssvae stats DIR --videos {videos} "
            "--write"
        )
    vae = common.load(model)
    spectrum, backbone = ChannelSpectrum(), Backbone(vae)
    channels = backbone.layout.in_channels
    source = open_source(videos, frames, *size, fps, seed, vae.device, channels=channels)
    backbone.latent_shape(frames, *size)  # a wrong size should not wait for the first clip
    with progress("encoding", clips) as advance:
        for done, _, posterior in encode_clips(backbone, source, range(clips), (frames, *size)):
            spectrum.update(posterior.mean)
            advance(done.stop)
    result = spectrum.result()
    mean, std = result.mean.tolist(), result.std.tolist()
    rows = [
        Row(f"channel {i}", (f"{m:.4f}", f"{s:.4f}"), "")
        for i, (m, s) in enumerate(zip(mean, std, strict=True))
    ]
    print_rows(["mean", "std"], rows)
    if write:
        folder = find_vae(model)
        vae.register_to_config(latents_mean=mean, latents_std=std)
        vae.save_config(folder)
        console.print(f"written to {folder / 'config.json'}", soft_wrap=True)
