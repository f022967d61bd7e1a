"""Evaluations of reconstructions and of generated clips."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ssvae.analysis.fidelity import SMALLEST, psnr, ssim
from ssvae.data import FixedClips, VideoError, probe, read_clip
from ssvae.data.fixed import file_of
from ssvae.data.listing import find_videos
from ssvae.evaluation.alignment import check_aligned, check_same_times
from ssvae.evaluation.features import FeatureNetwork
from ssvae.evaluation.metrics import Metric
from ssvae.evaluation.result import (
    Evaluation,
    EvaluationProtocol,
    checksum_of_all,
    checksum_of_clip,
)
from ssvae.losses import LPIPS
from ssvae.losses.perceptual import of_frames
from ssvae.models.backbones import Backbone
from ssvae.statistics.intervals import Interval, frechet_interval, kernel_interval, mean_interval

LPIPS_NETWORK = "VGG16 with the linear weights of lpips 0.1, each frame, sha256 {}"
OnClips = Callable[[int], Any]


@dataclass(frozen=True)
class Pair:
    """Clips and what became of them, both (B, 3, T, H, W) in [-1, 1]."""

    names: list[str]
    true: torch.Tensor
    reconstruction: torch.Tensor


@dataclass
class Measured:
    """What a process found of its clips, by name."""

    clips: dict[str, dict[str, float]] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    true: dict[str, torch.Tensor] = field(default_factory=dict)
    """Features."""
    reconstruction: dict[str, torch.Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def merge(self, other: "Measured") -> "Measured":
        """Add what another process found."""
        for name, mine in vars(self).items():
            mine.update(getattr(other, name))
        return self


def pairs_of_model(
    vae: Backbone, clips: FixedClips, batch_size: int, process: int = 0, processes: int = 1
) -> Iterator[Pair]:
    """Clips and their reconstructions from the posterior's mean."""
    for batch in clips.batches(batch_size, process, processes):
        reconstruction = vae.decode(vae.encode(batch.video).mean)
        yield Pair(batch.names, batch.video.to(reconstruction.device), reconstruction.float())


@dataclass
class FilePairs:
    """Files of two folders of the same names, whatever their endings, below each."""

    originals: Path
    reconstructions: Path
    frames: int
    size: tuple[int, int] | None = None
    """Height and width to bring both to; as they are where None."""
    fps: float | None = None
    device: torch.device | str = "cpu"
    """Where they are measured."""

    def __post_init__(self) -> None:
        self.left_out: dict[str, str] = {}
        found = [_by_name(folder) for folder in (self.originals, self.reconstructions)]
        alone = sorted(set(found[0]) ^ set(found[1]))
        if alone:
            raise ValueError(
                f"each file needs a partner of the same name in both folders, but {len(alone)} "
                "have "
                f"none: {', '.join(alone[:5])}" + (" ..." if len(alone) > 5 else "")
            )
        self.files = [(name, found[0][name], found[1][name]) for name in sorted(found[0])]

    def __len__(self) -> int:
        """Pairs of files."""
        return len(self.files)

    def read(self, process: int = 0, processes: int = 1) -> Iterator[Pair]:
        """A process's share of the pairs, one by one: their sizes may differ.

        A ValueError where two files of a name do not show their frames at the same times.
        """
        for name, *paths in self.files[process::processes]:
            try:
                channels = 4 if any(probe(path).has_alpha for path in paths) else 3
                true, reconstruction = (
                    read_clip(path, self.frames, 0.0, self.fps, self.size, channels)
                    for path in paths
                )
            except VideoError as error:
                self.left_out[name] = str(error)
                continue
            if true.shape != reconstruction.shape:
                sizes = [f"{c.shape[2]}x{c.shape[3]}" for c in (true, reconstruction)]
                self.left_out[name] = f"sizes differ, {sizes[0]} and {sizes[1]}: give --size"
                continue
            if self.fps is None:
                check_same_times(paths[0], paths[1], self.frames)
            check_aligned(true, reconstruction, name)
            yield Pair([name], true[None].to(self.device), reconstruction[None].to(self.device))


def _by_name(folder: Path) -> dict[str, Path]:
    """Videos below a folder by their path in it, without the ending."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give one with the videos to compare")
    named: dict[str, Path] = {}
    for path in find_videos(folder):
        name = str(path.relative_to(folder).with_suffix(""))
        if name in named:
            raise ValueError(f"{path} and {named[name]} have one name: keep one of them")
        named[name] = path
    return named


@torch.no_grad()
def measure_pairs(
    pairs: Iterator[Pair],
    lpips: LPIPS | None = None,
    network: FeatureNetwork | None = None,
    on_clips: OnClips = lambda done: None,
    metrics: Sequence[Metric] = (),
) -> Measured:
    """PSNR, SSIM, LPIPS and metrics of the user's own of each clip, and both sides' features."""
    measured = Measured()
    for pair in pairs:
        true, reconstruction = (x.float().clamp(-1, 1) for x in (pair.true, pair.reconstruction))
        side, finite = (
            min(true.shape[-2:]),
            torch.isfinite(reconstruction.flatten(1)).all(1).tolist(),
        )
        values = {"psnr": psnr(reconstruction, true)}
        if side >= SMALLEST["ssim"]:
            values["ssim"] = ssim(reconstruction, true)
        if lpips is not None and side >= SMALLEST["lpips"]:
            values["lpips"] = of_frames(lpips, reconstruction, true).mean(1)
        whole = reconstruction.nan_to_num(0, 0, 0)
        values |= {metric.name: metric(true, whole) for metric in metrics}
        features = None if network is None else (network(true), network(whole))
        for i, name in enumerate(pair.names):
            measured.checksums[name] = checksum_of_clip(true[i])
            if not finite[i]:
                measured.left_out[name] = "its reconstruction holds NaN or infinity"
                continue
            measured.clips[name] = {m: float(v[i]) for m, v in values.items()}
            if features is not None:
                measured.true[name], measured.reconstruction[name] = features[0][i], features[1][i]
        on_clips(len(measured.checksums))
    return measured


def evaluate_reconstruction(
    measured: Measured,
    frames: int,
    size: str,
    fps: float | None,
    read_from: str,
    lpips_checksum: str = "",
    network: FeatureNetwork | None = None,
    on_draw: OnClips = lambda done: None,
    metrics: Sequence[Metric] = (),
) -> Evaluation:
    """Figures of reconstructions, of what all processes found together."""
    names = sorted(measured.clips)
    if not names:
        why = next(iter(measured.left_out.values()), "there are no clips")
        raise ValueError(f"no clip gave a figure: {why}")
    files = [file_of(name) for name in names]
    left_out, figures, networks = dict(sorted(measured.left_out.items())), {}, {}
    for measure in ("psnr", "ssim", "lpips", *(metric.name for metric in metrics)):
        values = [
            measured.clips[name][measure] for name in names if measure in measured.clips[name]
        ]
        if len(values) == len(names):
            figures[measure] = mean_interval(values, files)
        elif values or measure == "ssim":
            left_out[measure] = f"{len(names) - len(values)} clips are too small for it"
    networks |= {metric.name: metric.described for metric in metrics}
    if "lpips" in figures:
        networks["lpips"] = LPIPS_NETWORK.format(lpips_checksum)
    if network is not None:
        true, reconstruction = (
            torch.stack([f[name] for name in names])
            for f in (measured.true, measured.reconstruction)
        )
        figures["rfvd"] = frechet_interval(
            true, reconstruction, (files, files), paired=True, on_draw=on_draw
        )
        figures["rkvd"] = kernel_interval(true, reconstruction, (files, files), paired=True)
        networks["rfvd"] = networks["rkvd"] = network.described
    data = checksum_of_all(measured.checksums[name] for name in names)
    protocol = EvaluationProtocol(
        "reconstruction", networks, len(names), len(set(files)), frames, size, fps, read_from, data
    )
    return Evaluation(protocol, figures, measured.clips, left_out)


@torch.no_grad()
def measure_clips(
    clips: FixedClips,
    network: FeatureNetwork,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    on_clips: OnClips = lambda done: None,
) -> Measured:
    """The features of clips, under ``reconstruction``."""
    measured = Measured()
    for batch in clips.batches(batch_size, process, processes):
        video = batch.video
        if video.shape[1] == 4 and (video[:, 3] == 1).all():
            video = video[
                :, :3
            ].contiguous()  # films of colours, whose checksums are those of colours
        for name, clip, features in zip(batch.names, video, network(video), strict=True):
            measured.reconstruction[name] = features
            measured.checksums[name] = checksum_of_clip(clip)
        on_clips(len(measured.reconstruction))
    return measured


def evaluate_generation(
    generated: Measured,
    real: Measured,
    network: FeatureNetwork,
    frames: int,
    size: str,
    fps: float | None,
    read_from: str,
    on_draw: OnClips = lambda done: None,
) -> Evaluation:
    """The Fréchet and the kernel distance between generated and true clips (FVD and KVD where the
    network is I3D).
    """
    sets, files = [], []
    for measured, what in ((generated, "generated"), (real, "true")):
        names = sorted(measured.reconstruction)
        if len(names) < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 {what} clips, got {len(names)}")
        sets.append(torch.stack([measured.reconstruction[name] for name in names]))
        files.append([file_of(name) for name in names])
    groups = files[0], files[1]
    names = ("fvd", "kvd") if network.name == "I3D" else ("frechet", "kernel")
    distances = (
        frechet_interval(sets[0], sets[1], groups, on_draw=on_draw),
        kernel_interval(sets[0], sets[1], groups),
    )
    described = f"{network.described}; {len(sets[1])} true clips"
    protocol = EvaluationProtocol(
        "generation",
        dict.fromkeys(names, described),
        len(sets[0]),
        len(set(files[0])),
        frames,
        size,
        fps,
        read_from,
        checksum_of_all(real.checksums.values()),
    )
    figures: dict[str, Interval] = dict(zip(names, distances, strict=True))
    return Evaluation(protocol, figures, {}, generated.left_out | real.left_out)
