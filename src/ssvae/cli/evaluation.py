"""The commands that evaluate reconstructions and generated clips."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from accelerate import Accelerator

from ssvae.cli.common import Common, CommonOptions, check_outputs
from ssvae.cli.comparison import UNITS, tell
from ssvae.cli.console import console, progress
from ssvae.data import count_files, is_endless, open_fixed, open_shelf
from ssvae.data.collection import Shelf
from ssvae.data.fixed import file_of
from ssvae.data.opened import NamedBytes
from ssvae.evaluation.features import FeatureNetwork, checksum, load_network
from ssvae.evaluation.judge import PROMPT, Film, Judge, evaluate_with_judge
from ssvae.evaluation.measure import (
    FilePairs,
    Measured,
    Pair,
    evaluate_generation,
    evaluate_reconstruction,
    measure_clips,
    measure_pairs,
    pairs_of_model,
)
from ssvae.evaluation.metrics import Metric, load_metric
from ssvae.evaluation.result import Evaluation
from ssvae.losses import LPIPS, find_lpips
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae
from ssvae.statistics.intervals import DRAWS_OF_DISTANCES
from ssvae.storage.processes import gather_objects


def reconstruction(
    model: str | None = None,
    videos: str | None = None,
    originals: Path | None = None,
    reconstructions: Path | None = None,
    network: str | None = None,
    clips: int = 64,
    frames: int = 17,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    seed: int = 1,
    batch_size: int = 4,
    vgg: str | None = None,
    linear: str | None = None,
    out: Path | None = None,
    table: Path | None = None,
    metric: tuple[str, ...] = (),
    common: CommonOptions = Common(),
) -> None:
    """PSNR, SSIM, LPIPS, rFVD and rKVD of reconstructions, with 95 % intervals over clips.

    Of a model over a source of clips (--model, --videos), or of two folders with files of the same
    names (--originals, --reconstructions).

    Args:
        model: A VAE: a run, a checkpoint, a model's folder or hub id, or a published checkpoint.
        videos: "world", "stills:FOLDER", a video, a folder of videos, a list, or tar files.
        originals: Folder of true videos.
        reconstructions: Folder of what was made of them.
        network: Also take rFVD and rKVD by probe, i3d:FILE.pt or videomae:NAME_OR_FOLDER.
        clips: Number of clips of --videos. Of folders every file counts once.
        frames: Frames a clip; of folders the first of each file.
        size: Height and width that clips are resized and cropped to. 256 256 of --videos, and files
            of folders as they are, where not given.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the world.
        batch_size: Clips at a time; changes no figure.
        vgg: File of VGG16's weights, for LPIPS. Where not given, those in torch's cache, if any.
        linear: File of LPIPS's linear weights; those of the package lpips where not given.
        out: Write figures and protocol into this file, .json, to be compared.
        table: Write the figures as a table for a paper: .tex (booktabs), .csv, .md or .json.
        metric: Functions of your own, file.py:function or module:function: of clips and
            reconstructions (B, 3, T, H, W) in [-1, 1] to a number a clip.
    """
    of_model = _is_of_model(model, videos, originals, reconstructions)
    check_outputs(None, out, table=table)
    metrics = _metrics(metric)
    accelerator = common.accelerator()
    device = accelerator.device
    features = None if network is None else load_network(network, device)
    lpips = find_lpips(vgg, linear, device)
    if of_model:
        vae = open_vae(str(model), device, common.torch_dtype)
        height, width = size or (256, 256)
        clip = frames, height, width
        pairs = _pairs_of_model(vae, str(videos), clips, clip, fps, seed, batch_size, accelerator)
    else:
        folders = Path(str(originals)), Path(str(reconstructions))
        pairs = _pairs_of_files(FilePairs(*folders, frames, size, fps, device), accelerator)
    measured = _measured(pairs, lpips, features, accelerator, metrics)
    if not accelerator.is_main_process:
        return
    digest = "" if lpips is None else checksum(lpips)
    evaluated = (measured, frames, pairs.size, fps, pairs.read_from, digest, features)
    evaluation = _drawn(
        features, lambda on_draw: evaluate_reconstruction(*evaluated, on_draw, metrics)
    )
    tell(evaluation, out, table, str(model or reconstructions))
    _tell_what_is_missing(measured, features, lpips)


@dataclass(frozen=True)
class _Pairs:
    """Clips and their reconstructions, a process's share of them."""

    share: Iterator[Pair]
    number: int
    """Of all processes."""
    left_out: dict[str, str]
    """Those that cannot be read, named as the others are read, and why."""
    size: str
    read_from: str


def _pairs_of_model(
    vae: Backbone,
    videos: str,
    number: int,
    shape: tuple[int, int, int],
    fps: float | None,
    seed: int,
    batch_size: int,
    accelerator: Accelerator,
) -> _Pairs:
    """What a model makes of clips of a source, of this many frames, rows and columns."""
    vae.latent_shape(*shape)  # a wrong size should not wait for the first clip
    device, channels = accelerator.device, vae.clip_channels
    source = open_fixed(videos, number, *shape, fps, seed, device, channels)
    share = accelerator.process_index, accelerator.num_processes
    pairs = pairs_of_model(vae, source, batch_size, *share)
    size = f"{shape[1]}x{shape[2]}"
    return _Pairs(pairs, number, source.broken, size, "raw from the model")


def _pairs_of_files(files: FilePairs, accelerator: Accelerator) -> _Pairs:
    """The files of two folders."""
    pairs = files.read(accelerator.process_index, accelerator.num_processes)
    size = f"{files.size[0]}x{files.size[1]}" if files.size else "as in the files"
    return _Pairs(pairs, len(files), files.left_out, size, "from files")


def _metrics(names: Sequence[str]) -> list[Metric]:
    """Metrics of the user's own; a ValueError where a name is taken."""
    found = [load_metric(name) for name in names]
    for name, count in Counter([*UNITS, *(metric.name for metric in found)]).items():
        if count > 1:
            raise ValueError(f"two metrics are called {name}: call your function otherwise")
    return found


def _measured(
    pairs: _Pairs,
    lpips: LPIPS | None,
    features: FeatureNetwork | None,
    accelerator: Accelerator,
    metrics: Sequence[Metric],
) -> Measured:
    """The pairs of all processes, measured."""
    if features is not None and pairs.number < 2:
        raise ValueError("rFVD needs at least 2 clips, got 1: leave out --network")
    own = -(-pairs.number // accelerator.num_processes)
    with progress("measuring", own, shown=accelerator.is_main_process) as advance:
        parts = gather_objects(
            accelerator,
            lambda: measure_pairs(
                pairs.share, lpips, features, lambda done: advance(done, ""), metrics
            ),
        )
    return _joined(parts, gather_objects(accelerator, lambda: pairs.left_out))


def _tell_what_is_missing(
    measured: Measured, features: FeatureNetwork | None, lpips: LPIPS | None
) -> None:
    """Few clips for a distance, and a measure that was left out."""
    if features is not None:
        _warn_if_few(measured)
    if lpips is None:
        console.print("LPIPS was left out: give --vgg FILE, or see docs/training.md")


def _is_of_model(
    model: str | None, videos: str | None, originals: Path | None, reconstructions: Path | None
) -> bool:
    """Whether a model is evaluated, not two folders; a ValueError for both, neither, or a half."""
    of_model = model is not None and videos is not None
    of_folders = originals is not None and reconstructions is not None
    if of_model == of_folders or (model is None) != (videos is None):
        raise ValueError(
            "give either --model and --videos, or --originals and --reconstructions, which hold "
            "files of the same names"
        )
    return of_model


def generation(
    generated: str,
    real: str,
    network: str,
    clips: int = 2048,
    frames: int = 16,
    size: tuple[int, int] = (256, 256),
    fps: float | None = None,
    seed: int = 1,
    batch_size: int = 8,
    out: Path | None = None,
    table: Path | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Fréchet and kernel distance of generated to true clips (FVD, KVD by I3D), with intervals.

    Args:
        generated: Generated videos: a folder, a .csv or .jsonl list, or tar files.
        real: True videos: the same, or "world".
        network: probe, i3d:FILE.pt or videomae:NAME_OR_FOLDER.
        clips: Number of clips of each, at most: a source of fewer files gives one of each.
        frames: Frames a clip, from the middle of each file.
        size: Height and width that clips are resized and cropped to before the network sees them.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the world.
        batch_size: Clips at a time; changes no figure.
        out: Write figures and protocol into this file, .json, to be compared.
        table: Write the figures as a table for a paper: .tex (booktabs), .csv, .md or .json.
    """
    check_outputs(None, out, table=table)
    accelerator = common.accelerator()
    device, share = accelerator.device, (accelerator.process_index, accelerator.num_processes)
    features = load_network(network, device)
    found = []
    for what, name in (("generated", generated), ("true", real)):
        files = count_files(name, frames)
        number = clips if files is None else min(clips, files)
        channels = 3 if is_endless(name) else 4  # alpha is seen where a film has some
        source = open_fixed(name, number, frames, *size, fps, seed, device, channels)
        own = -(-number // share[1])
        with progress(f"{what} clips", own, shown=share[0] == 0) as advance:
            parts = gather_objects(
                accelerator,
                lambda source=source, advance=advance: measure_clips(
                    source, features, batch_size, *share, lambda done: advance(done, "")
                ),
            )
            broken = gather_objects(accelerator, lambda source=source: source.broken)
            found.append(_joined(parts, broken))
    if share[0]:
        return
    measured, true = found
    evaluated = (measured, true, features, frames, f"{size[0]}x{size[1]}", fps, "from files")
    evaluation = _drawn(features, lambda on_draw: evaluate_generation(*evaluated, on_draw))
    tell(evaluation, out, table, generated)
    _warn_if_few(measured, true)


def judge(
    videos: str,
    endpoint: str,
    judge: str,
    out: Path,
    prompt: Path | None = None,
    frames: int = 16,
    side: int = 512,
    per_minute: float | None = None,
    retries: int = 5,
    timeout: float = 120.0,
    jobs: int = 4,
    key: Annotated[str, tyro.conf.arg(help="Variable that holds the API key.")] = "OPENAI_API_KEY",
    common: CommonOptions = Common(),
) -> None:
    """Marks on five scales by a vision-language model behind an OpenAI-compatible endpoint.

    Answers are kept beside OUT as they come; the same command goes on where it stopped, and asks
    again for what got none.

    Args:
        videos: Videos with what they were generated for: a .csv or .jsonl list (such as clips.csv
            of ssvae generate) or tar files.
        endpoint: Its URL, such as http://localhost:8000/v1 of vLLM.
        judge: Name of the model that is served there, such as UnifiedReward-qwen-7b.
        out: File of figures and protocol, .json; the answers go into OUT with .answers.jsonl.
        prompt: File of another prompt, which holds {prompt} and asks for the same scales.
        frames: Frames of each video, at equal distances.
        side: Larger frames are made smaller than this.
        per_minute: Requests a minute, at most.
        retries: Of a request that fails, with growing pauses, and of an answer without marks.
        timeout: Seconds for an answer.
        jobs: Requests at the same time.
        key: Environment variable that holds the API key, where the endpoint wants one.
    """
    check_outputs(None, out)
    if prompt is not None and not prompt.is_file():
        raise ValueError(f"no prompt at {prompt}: give a text file that holds {{prompt}}")
    films = _films(open_shelf(videos, 2))
    asked = Judge(
        endpoint=endpoint,
        model=judge,
        cache=out.with_suffix(".answers.jsonl"),
        key=os.environ.get(key) or "none",
        prompt=PROMPT if prompt is None else prompt.read_text(),
        frames=frames,
        side=side,
        per_minute=per_minute,
        retries=retries,
        timeout=timeout,
        jobs=jobs,
    )
    if asked.answers:
        console.print(
            f"{len(asked.answers)} answers are there already in {asked.cache}", soft_wrap=True
        )
    with progress("asking", len(films)) as advance:
        evaluation = evaluate_with_judge(asked, films, lambda done: advance(done, ""))
    tell(evaluation, out)


def _films(shelf: Shelf) -> list[Film]:
    """Every video on a shelf with its prompt."""
    films, named = [], Counter[str]()
    for place, length in enumerate(shelf.lengths):
        for index in range(length):
            file, caption = shelf.item(place, index)
            name = file.name if isinstance(file, NamedBytes) else str(file)
            if not caption.strip() or caption == Path(name).stem:
                raise ValueError(
                    f"{name} has no prompt: name videos and prompts in a .csv or .jsonl list, as "
                    "path and caption"
                )
            named[name] += 1
            again = f", again {named[name] - 1}" if named[name] > 1 else ""
            films.append(Film(file, caption, name + again))
    return films


def _joined(parts: list[Measured], broken: list[dict[str, str]]) -> Measured:
    whole = Measured()
    for part in parts:
        whole.merge(part)
    for names in broken:
        whole.left_out |= names
    return whole


def _drawn(
    network: FeatureNetwork | None, evaluate: Callable[[Callable[[int], object]], Evaluation]
) -> Evaluation:
    """An evaluation, under a progress bar where its interval takes long."""
    with progress("interval", DRAWS_OF_DISTANCES, shown=network is not None) as advance:
        return evaluate(lambda done: advance(done, ""))


def _warn_if_few(*sets: Measured) -> None:
    width = len(next(iter(sets[0].reconstruction.values())))
    few = min(len({file_of(name) for name in each.reconstruction}) for each in sets)
    if few <= width:
        console.print(
            f"clips of {few} files for {width} features: the distance lies too high, and compares "
            "with those of as many clips alone",
            soft_wrap=True,
        )
