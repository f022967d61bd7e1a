"""Commands about latents and the diffusion models that learn them."""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from diffusers import WanPipeline
from matplotlib.figure import Figure

from ssvae.cli.common import (
    Common,
    CommonOptions,
    Kind,
    Tracking,
    TrackingOptions,
    choice_of,
    run_recipe,
)
from ssvae.cli.console import console, progress
from ssvae.cli.samples import show_samples
from ssvae.data import open_source, read_frames, to_clip, to_show, write_video
from ssvae.data.buckets import parse_buckets
from ssvae.diffusion.average import write_average
from ssvae.diffusion.building import parameters_of, problems_of
from ssvae.diffusion.pipeline import (
    PipelineConfig,
    assemble,
    checkpoint_of,
    load_config,
    open_pipeline,
    save_pipeline,
)
from ssvae.diffusion.pipeline import generate as make_clips
from ssvae.diffusion.preview import check_preview
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.trainer import train_diffusion as learn
from ssvae.latents import (
    CacheConfig,
    LatentBuckets,
    MapConfig,
    encode_clips,
    save_map,
    write_buckets,
    write_cache,
)
from ssvae.latents import fit_map as fit
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae, resolve_vae
from ssvae.models.fingerprint import latents_fingerprint
from ssvae.recipes import DIFFUSION_RECIPES
from ssvae.report.figures import contact_sheet, save_figure
from ssvae.spectra import ChannelSpectrum
from ssvae.storage.distant import here
from ssvae.storage.files import check_apart, check_file, check_folder, write_text
from ssvae.storage.processes import gather_objects

Recipe = choice_of(DIFFUSION_RECIPES)
DIFFUSION = Kind(learn, problems_of, parameters_of, show_samples)


def cache_latents(
    vae: str,
    out: Path,
    data: str,
    clips: int = 4096,
    frames: int = 9,
    size: tuple[int, int] = (32, 32),
    buckets: tuple[str, ...] = (),
    fps: float | None = None,
    seed: int = 0,
    posterior: Literal["mean", "sample", "moments"] = "mean",
    shard_clips: int = 256,
    storage: Literal["float32", "bfloat16"] = "float32",
    workers: int | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Encode clips and captions once into shards that train-diffusion reads.

    The same command again goes on where it stopped. Under accelerate launch or torchrun each
    process encodes its share of the shards.

    Args:
        vae: A trained autoencoder: a run, a checkpoint, a model folder or a hub id, ours or any of
            diffusers' video VAEs.
        out: The cache's folder.
        data: "world" (procedural), "stills:FOLDER" (a camera over pictures), or a folder of videos.
        clips: Number of clips.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        buckets: Clips of several sizes instead, FRAMESxHEIGHTxWIDTH each, such as 9x64x64 9x48x80
            17x48x80: each film is in the bucket of its shape, the longest that it has frames for.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the draw of clips, and of the posterior's samples.
        posterior: Keep the posterior's mean, a sample of it, or its moments, which train distil
            --latents reads too.
        shard_clips: Clips a shard.
        storage: Number format that latents are kept in; bfloat16 takes half the room, and rounds
            them to three digits.
        workers: Threads that read files, on each process; one for each core that it has where not
            given.
    """
    check_apart(out, vae)
    check_folder(out)
    accelerator = common.accelerator()
    vae = resolve_vae(vae)
    config = CacheConfig(
        vae, data, clips, frames, *size, fps, seed, posterior, shard_clips, common.dtype, storage
    )
    backbone, main = (
        open_vae(vae, accelerator.device, common.torch_dtype),
        accelerator.is_main_process,
    )
    sizes = parse_buckets(buckets)
    with progress("encoding", -(-clips // accelerator.num_processes), shown=main) as advance:
        if sizes:
            write_buckets(backbone, out, config, sizes, accelerator, advance, workers)
        else:
            write_cache(backbone, out, config, accelerator, advance, workers)
    for cache in LatentBuckets(out).caches if main else ():
        console.print(
            f"{len(cache)} clips in {cache.path}, latents of {' x '.join(map(str, cache.shape))}"
            + (f"; {len(cache.failed)} left out" if cache.failed else ""),
            soft_wrap=True,
        )


def train_diffusion(
    recipe: Recipe,  # type: ignore[valid-type]
    out: Path,
    dry_run: bool = False,
    deterministic: bool = False,
    tracking: TrackingOptions = Tracking(),
    common: CommonOptions = Common(),
) -> None:
    """Train a diffusion model on cached latents. The same command again goes on where it stopped.

    Args:
        out: The run's folder.
        dry_run: Print the settings and the number of parameters, and train nothing.
        deterministic: On a GPU, take the slower kernels whose results repeat bit for bit.
    """
    assert isinstance(recipe, DiffusionRecipe)
    run_recipe(DIFFUSION, recipe, out, dry_run, deterministic, common, tracking)


def generate(
    prompts: tyro.conf.Positional[tuple[str, ...]],
    model: str = "world-t2v",
    out: Path = Path("generated"),
    number: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 4,
    steps: int = 30,
    guidance: float = 3.0,
    seed: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    vae: str | None = None,
    preview: str | None = None,
    image: str | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Generate clips for prompts: a video each, a contact sheet of all, and clips.csv, a list.

    Args:
        prompts: What to show, such as "a red disc moving left over coarse waves".
        model: A diffusion run, a checkpoint of one, an exported pipeline, or a model that comes
            with ssvae.
        out: Folder of the videos and of contact-sheet.png.
        number: Clips for each prompt.
        steps: Steps of the sampler.
        guidance: Classifier-free guidance; 1 is none.
        seed: Seed of the noise.
        frames: Frames of a clip; those of the training clips where not given.
        size: Height and width; those of the training clips where not given.
        fps: Frame rate of the videos; that of the training clips, or 8, where not given.
        vae: The autoencoder, where it has moved since the latents were cached.
        preview: A model that decodes each step of the sampler, into OUT/steps and steps.png: a
            student of the autoencoder (ssvae train distil), or itself.
        image: A picture, or a film's first frame, that all clips begin with; of a model trained
            with --condition first-frame.
    """
    if not prompts or any(not prompt.strip() for prompt in prompts):
        raise ValueError("give at least one prompt, none of them empty")
    check_apart(out, model)
    check_folder(out)
    accelerator = common.accelerator()
    device, share = accelerator.device, (accelerator.process_index, accelerator.num_processes)
    pipeline, config = open_pipeline(model, vae, device, common.torch_dtype)
    rate = fps or config.fps or 8
    watch = None if preview is None else _watched(pipeline, preview, out / "steps", rate, common)
    shape = config.frames if frames is None else frames, *(size or (config.height, config.width))
    captions = [prompt for prompt in prompts for _ in range(number)]
    first, end = (len(captions) * n // share[1] for n in (share[0], share[0] + 1))
    begun = None if image is None else _first_frame(image, config, shape[1:])
    settings = dict(
        steps=steps, guidance=guidance, seed=seed, first=first, on_step=watch, image=begun
    )
    stretch = partial(make_clips, pipeline, captions[first:end], shape, **settings)
    parts = gather_objects(
        accelerator,
        lambda: _written_stretch(stretch, range(first, end), number, out, rate, watch),
    )
    if not accelerator.is_main_process:
        return
    clips = torch.cat([part for part in parts if part is not None])
    sheet = _write_overview(out, prompts, clips.unflatten(0, (-1, number)))
    steps_too = "" if watch is None else f", each step of the sampler in {watch.folder}"
    console.print(f"{len(clips)} clips in {out}, all of them in {sheet}{steps_too}", soft_wrap=True)


def _first_frame(image: str, config: PipelineConfig, size: Sequence[int]) -> torch.Tensor:
    """A picture that clips are to begin with (3, H, W); a ValueError for a model that takes
    none.
    """
    if config.condition != "first-frame":
        raise ValueError(
            "this model makes clips from captions alone: --image needs one that was trained with "
            "train-diffusion --condition first-frame"
        )
    height, width = size
    with here(image) as file:
        frame = next(iter(read_frames(file, size=(height, width))), None)
    if frame is None:
        raise ValueError(f"{image} holds no picture")
    return to_clip([frame.image])[:, 0]


def _write_overview(out: Path, prompts: Sequence[str], clips: torch.Tensor) -> Path:
    """The list of the films, and a sheet of all clips (prompts, number, ...); where that lies."""
    number = clips.shape[1]
    films = [_film(i, number, clip) for i, clip in enumerate(clips.flatten(0, 1))]
    _write_list(out / "clips.csv", films, [p for p in prompts for _ in range(number)])
    sheet = out / "contact-sheet.png"
    save_figure(contact_sheet(list(prompts), clips), sheet)
    return sheet


def _watched(
    pipeline: WanPipeline, preview: str, folder: Path, fps: float, common: Common
) -> "Watched":
    """What decodes each step of the sampler; a ValueError for a model of other latents."""
    decoder = open_vae(preview, pipeline.vae.device, common.torch_dtype)
    check_preview(pipeline, decoder)
    return Watched(decoder, folder, fps)


def _written_stretch(
    stretch: Callable[..., torch.Tensor],
    clips: range,
    number: int,
    out: Path,
    rate: float,
    watch: "Watched | None",
) -> torch.Tensor | None:
    """A process's clips, made and written; None where it has none."""
    if not clips:
        return None
    with progress("generating", len(clips), shown=not clips.start) as advance:
        generated = stretch(on_clips=lambda done: advance(int(done), ""))
    out.mkdir(parents=True, exist_ok=True)
    for i, clip in zip(clips, generated, strict=True):
        write_video(out / _film(i, number, clip), clip, rate)
    if watch is not None and clips.start == 0:
        save_figure(watch.figure(), out / "steps.png")
    return generated


def _write_list(path: Path, names: Sequence[str], captions: Sequence[str]) -> None:
    """Films and their captions, as a list that data is read from."""
    text = StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "caption"])
    rows.writerows(zip(names, captions, strict=True))
    write_text(path, text.getvalue())


MOST_SHOWN = 8
"""Steps and clips in the picture of a sampler's steps."""


class Watched:
    """Each step of a sampler as a film, the clips of a batch side by side."""

    def __init__(self, decoder: Backbone, folder: Path, fps: float):
        self.decoder, self.folder, self.fps = decoder, folder, fps
        self._first_batch: dict[int, torch.Tensor] = {}

    def __call__(self, first: int, step: int, latents: torch.Tensor) -> None:
        """Decode and write one step."""
        clips = self.decoder.decode(latents).float().cpu()
        self.folder.mkdir(parents=True, exist_ok=True)
        film = self.folder / f"clips-{first:04d}-step-{step:03d}.mp4"
        write_video(film, to_show(torch.cat(list(clips), -1)), self.fps)
        if first == 0:
            self._first_batch[step] = clips[:MOST_SHOWN]

    def figure(self) -> Figure:
        """Some steps, each a row with the first clips."""
        steps = sorted(self._first_batch)
        ends = torch.linspace(0, len(steps) - 1, min(MOST_SHOWN, len(steps))).round().int().tolist()
        shown = [steps[i] for i in ends]
        clips = torch.stack([self._first_batch[step] for step in shown])
        return contact_sheet([f"step {step}" for step in shown], clips)


def average(
    run: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    length: float = 0.08,
    step: int | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Make the EMA of a diffusion run's weights with another length, after the run.

    The run must have kept snapshots (train-diffusion --snapshots-every N).

    Args:
        run: A diffusion run.
        out: Folder to write, which generate, export and evaluate take.
        length: Deviation of the mean's profile, as a share of the run: .01 to .25.
        step: Step of the snapshot at its end; the last where not given.
    """
    _check_new(out, run)
    written = write_average(run, out, length, step)
    console.print(f"written to {written}", soft_wrap=True, markup=False)


def export(
    model: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    vae: str | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Write a diffusion run as one diffusers pipeline, the autoencoder with its statistics inside.

    Args:
        model: A diffusion run, a checkpoint of one, or a model that comes with ssvae.
        out: The pipeline's folder: WanPipeline.from_pretrained(OUT), once ssvae is imported.
        vae: The autoencoder, where it has moved since the latents were cached.
    """
    _check_new(out, model)
    folder = checkpoint_of(model)
    backbone = None if vae is None else open_vae(vae)
    pipeline = assemble(folder, backbone, dtype=common.torch_dtype)
    save_pipeline(pipeline, load_config(folder), out)
    console.print(f"pipeline written to {out}", soft_wrap=True)


def _check_new(out: Path, source: str | Path) -> None:
    """A ValueError where no folder can be written anew at ``out``."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and not an empty folder: choose another")
    check_apart(out, source)
    check_folder(out)


def fit_map(
    model: tyro.conf.Positional[str],
    out: tyro.conf.Positional[Path],
    videos: str | None = None,
    clips: int = 256,
    frames: int = 9,
    size: tuple[int, int] = (32, 32),
    fps: float | None = None,
    seed: int = 0,
    map: Annotated[MapConfig, tyro.conf.arg(name="")] = MapConfig(power=1.5),
    common: CommonOptions = Common(),
) -> None:
    """Fit an invertible map that changes the spectrum of a VAE's latents, not what they can say.

    train-diffusion --map learns the mapped latents, and the pipeline undoes the map: for VAEs that
    nobody can train again. A map that tilts frequencies is for latents of one size.

    Args:
        model: A VAE, with --videos; or a cache that cache-latents wrote.
        out: The map, .safetensors.
        videos: "world", or a folder of videos: what a VAE encodes to fit the map.
        clips: Number of clips to encode.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the draw of clips.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"a map is written as NAME.safetensors, got {out}")
    check_file(out)
    if videos is None:
        fitted = LatentBuckets(model).fit(map)
    else:
        device = common.accelerator().device
        backbone = open_vae(model, device, common.torch_dtype)
        channels = backbone.layout.in_channels
        source = open_source(videos, frames, *size, fps, seed, device, channels=channels)
        shape = backbone.latent_shape(frames, *size)
        parts, spectrum = [], ChannelSpectrum()
        with progress("encoding", clips) as advance:
            for done, _, posterior in encode_clips(backbone, source, range(clips), (frames, *size)):
                parts.append(posterior.mean.float().cpu())
                spectrum.update(parts[-1])
                advance(done.stop)
        fitted = fit(spectrum.result(), shape[1:], map, parts)
        fitted.encoder = latents_fingerprint(backbone.vae)
    save_map(fitted, out)
    settings = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(map).items())
    console.print(f"map of {settings} written to {out}", soft_wrap=True)


def _film(index: int, number: int, clip: torch.Tensor) -> str:
    kind = "webm" if len(clip) == 4 else "mp4"  # whose alpha browsers show
    return f"{index // number:02d}-{index % number:02d}.{kind}"
