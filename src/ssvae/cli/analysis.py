"""The command that analyses VAEs."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ssvae.analysis import Analysis, Protocol, Subject, analyze_latents, findings
from ssvae.analysis.result import latents_seen
from ssvae.analysis.shared import Pairs, SharedAnalysis
from ssvae.cli.common import Common, CommonOptions, check_outputs
from ssvae.cli.console import console, print_rows, progress
from ssvae.data import is_endless, known_vocabulary, open_fixed
from ssvae.evaluation.features import fitting_network, load_network
from ssvae.latents.reading import ENDINGS, NAME, are_latents, open_latents
from ssvae.losses import find_lpips
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae
from ssvae.models.layouts import common_channels, common_length, common_side
from ssvae.models.shipped import shipped_autoencoders
from ssvae.report.analysis_figures import spectra_figure
from ssvae.report.analysis_page import Shown, write_report
from ssvae.report.figures import save_figure
from ssvae.report.paper_tables import analysis_table, write_table
from ssvae.report.tables import analysis_tables
from ssvae.storage.files import write_text
from ssvae.storage.processes import gather_objects

logger = logging.getLogger(__name__)


def analyze(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    videos: str | None = None,
    out: Path | None = None,
    json_out: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
    figure_width: float = 10.0,
    table: Path | None = None,
    clips: int = 64,
    frames: int = 17,
    size: tuple[int, int] = (256, 256),
    fps: float | None = None,
    seed: int = 1,
    batch_size: int = 4,
    vgg: str | None = None,
    linear: str | None = None,
    network: str | None = None,
    skip_artefacts: bool = False,
    frames_alike: bool = False,
    common: CommonOptions = Common(),
) -> None:
    """Analyse one or more VAEs over the same clips: spectra, robustness, reconstruction, cost.

    Under torchrun or accelerate launch all processes share the clips.

    Args:
        models: VAEs, each as MODEL or NAME=MODEL: a run, a checkpoint, a model's folder or hub id
            of any class that is known, a function of yours (file.py:function), or a published
            checkpoint of SSVAE. Or latents: a cache, a .npy or .safetensors file, tar files of
            these. Where none is given, the models that come with ssvae.
        videos: "world", "stills:FOLDER", a video, a folder of videos, a list, or tar files. Latents
            need none.
        out: Write a page with everything into this file, .html, and its figures beside it.
        json_out: Write all figures, curves included, to this file.
        figure: Draw both spectra into this file, .png, .svg or .pdf.
        figure_width: Its width in inches, such as 3.25 of a paper's column.
        table: Write the main figures, with intervals over films, as a table for a paper: .tex
            (booktabs), .csv, .md or .json.
        clips: Number of clips. Of files they are the same in every run, evenly drawn.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the world.
        batch_size: Clips at a time; changes no figure.
        vgg: File of VGG16's weights, for LPIPS. Where not given, those in torch's cache, if any.
        linear: File of LPIPS's linear weights; those of the package lpips where not given.
        network: Also measure what is decoded between latents (tFVD, iFID) in the features of probe,
            i3d:FILE.pt or videomae:NAME_OR_FOLDER. The probe where the clips are the world's.
        skip_artefacts: Leave out the synthetic films whose right answer is known, and what becomes
            of clips that go through again and again.
        frames_alike: Of latents: the first latent frame stands for as many frames as the others. A
            cache knows.
    """
    check_outputs(out, json_out, figure, table)
    accelerator = common.accelerator()
    named = named_models(models)
    stored = {name: place for name, place in named.items() if are_latents(place)}
    of_models = {name: place for name, place in named.items() if name not in stored}
    found = _Found({}, {}, {}, {})
    if of_models:
        if videos is None:
            raise ValueError(_without_clips(of_models))
        vaes = open_named(of_models, frames, size, common)
        channels = common_channels(vae.layout for vae in vaes.values())
        source = open_fixed(videos, clips, frames, *size, fps, seed, accelerator.device, channels)
        lpips = find_lpips(vgg, linear, accelerator.device)
        network = network or fitting_network(videos, frames)
        work = SharedAnalysis(
            source,
            accelerator,
            batch_size,
            fps,
            lpips,
            skip_artefacts,
            None if network is None else load_network(network, accelerator.device),
            known_vocabulary(videos),
            intervals=table is not None,
        )
        found = _analyse(work, vaes)
    if not accelerator.is_main_process:
        return
    for name, place in stored.items():
        found.analyses[name] = _of_latents(name, place, frames_alike)
    if found.analyses:
        _tell(found)
        described = clips_described(videos, fps, seed) if videos and of_models else ""
        _write(found, described, out, json_out, figure, figure_width)
        if table is not None:
            # A paper that is reviewed blindly should not name folders.
            blind = clips_described(Path(videos).name, fps, seed) if videos and of_models else ""
            write_table(analysis_table(found.analyses, blind), table)
            console.print(f"table: {table}", soft_wrap=True, markup=False)
    if found.failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.failed.items())
        raise ValueError(
            f"{len(found.failed)} of {len(named)} models could not be analysed: {reasons}"
        )


def _without_clips(models: Mapping[str, str]) -> str:
    """What to say where models were given, and no clips."""
    if file := next((place for place in models.values() if Path(place).is_file()), None):
        return (
            f"{file} is taken for a published checkpoint, which needs clips (--videos): latents "
            f"lie in {' or '.join(ENDINGS)}, in one tensor (N, C, t, h, w), or one called {NAME}"
        )
    return "a model needs clips: --videos world, or a film, a folder, a list"


def _of_latents(name: str, place: str, frames_alike: bool) -> Analysis:
    """The analysis of latents in files."""
    stored = open_latents(place)
    known, alone = stored.first_frame_alone, not frames_alike
    if known is None:
        logger.info(
            "%s: the first latent frame is taken %s",
            name,
            "for a frame of video alone, as of a causal VAE; --frames-alike for others"
            if alone
            else "as the others are",
        )
    elif frames_alike and known:
        raise ValueError(
            f"{place} is of a VAE whose first frame is alone: leave out --frames-alike"
        )
    vocabulary = known_vocabulary(stored.data) if stored.data else None
    return analyze_latents(
        stored.batches(), alone if known is None else known, stored.captions, vocabulary
    )


@dataclass(frozen=True)
class _Found:
    """What came of the models, by their names."""

    analyses: dict[str, Analysis]
    pairs: dict[str, Pairs]
    """Some clips and their reconstructions."""
    failed: dict[str, str]
    """Why others have no analysis."""
    unread: dict[str, str]
    """Files that could not be read, and why."""


def _analyse(work: SharedAnalysis, vaes: dict[str, Backbone]) -> _Found:
    """Every model over the same clips."""
    analyses, pairs, failed = {}, {}, {}
    own = -(-work.source.number // work.accelerator.num_processes)
    main = work.accelerator.is_main_process
    with progress("analysing", own * len(vaes), shown=main) as advance:
        for i, (name, vae) in enumerate(vaes.items()):

            def tell(done: int, doing: str = "", i: int = i, name: str = name) -> None:
                advance(i * own + done, f"{name} {doing}".strip())

            try:
                found = work.analyse(Subject.of(vae), tell)
                if found is not None:
                    analyses[name], pairs[name] = found
            except ValueError as error:
                failed[name] = str(error)
    broken = gather_objects(work.accelerator, lambda: work.source.broken)
    unread = {name: reason for each in broken for name, reason in each.items()}
    return _Found(analyses, pairs, failed, unread)


def open_models(
    models: tuple[str, ...], frames: int, size: tuple[int, int], common: Common
) -> dict[str, Backbone]:
    """Models by their short names; a ValueError where clips of this size do not suit all of
    them.
    """
    return open_named(named_models(models), frames, size, common)


def open_named(
    named: Mapping[str, str], frames: int, size: tuple[int, int], common: Common
) -> dict[str, Backbone]:
    """The same of models that have names."""
    device = common.accelerator().device
    vaes = {name: open_vae(model, device, common.torch_dtype) for name, model in named.items()}
    check_clip_size(vaes, frames, size)
    return vaes


def _write(
    found: _Found,
    source: str,
    out: Path | None,
    json_out: Path | None,
    figure: Path | None,
    figure_width: float,
) -> None:
    """The page, all figures as JSON, and both spectra as a picture, where they are asked for."""
    analyses = found.analyses
    if figure is not None:
        save_figure(spectra_figure(analyses, figure_width), figure)
    if json_out is not None:
        summaries = {name: analysis.summary() for name, analysis in analyses.items()}
        write_text(json_out, json.dumps(summaries, indent=2) + "\n")
    if out is not None:
        shown = _shown(found.pairs)
        page = write_report(analyses, out, shown, source, found.unread, found.failed)
        console.print(f"\nreport: {page}", soft_wrap=True, markup=False)


def _shown(pairs: dict[str, Pairs]) -> list[Shown]:
    """Some clips beside what each model made of them; none of latents alone."""
    if not pairs:
        return []
    originals = next(iter(pairs.values()))
    return [
        Shown(clip, original, {name: of_model[clip][1] for name, of_model in pairs.items()})
        for clip, (original, _) in originals.items()
    ]


def clips_described(videos: str, fps: float | None, seed: int) -> str:
    """Where the clips come from, for a page."""
    if is_endless(videos):
        return f"of {'the procedural world' if videos == 'world' else videos}, seed {seed}"
    rate = f"at {fps:g} frames a second" if fps else "at each video's own rate"
    return f"from {videos}, evenly drawn, {rate}, resized to cover that size and cropped"


def named_models(models: tuple[str, ...]) -> dict[str, str]:
    """Each model by a short name that tells it from the others; the shipped ones where none is
    given.
    """
    named: dict[str, str] = {}
    models = models or shipped_autoencoders()
    places = [m.split("=", 1)[1] if _is_named(m) else m for m in models]
    short = [m.split("=", 1)[0] if _is_named(m) else (Path(m).resolve().name or m) for m in models]
    counts = Counter(short)
    for model, place, name in zip(models, places, short, strict=True):
        unique = name if _is_named(model) or counts[name] == 1 else place
        if unique in named:
            raise ValueError(f"each model must have a name of its own, got {model} again")
        named[unique] = place
    return named


def _is_named(model: str) -> bool:
    return "=" in model and not Path(model).exists()


def check_clip_size(vaes: dict[str, Backbone], frames: int, size: tuple[int, int]) -> None:
    """A ValueError where clips of this size do not suit all models, with the sizes that do."""
    layouts = {name: vae.layout for name, vae in vaes.items()}
    if frames > 0 and all(layout.fits(frames, *size) for layout in layouts.values()):
        return
    side = common_side(layouts.values())
    height, width = (max(1, round(s / side)) * side for s in size)
    n = common_length(layouts.values(), max(frames, 2))
    raise ValueError(
        "clips must suit every model: "
        + ", ".join(f"{name} takes {layout}" for name, layout in layouts.items())
        + f"; got {frames} frames of {size[0]}x{size[1]}: for example --frames {n} --size {height} "
        f"{width}"
    )


def _tell(found: _Found) -> None:
    """Tables, files that were left out, and findings."""
    analyses = found.analyses
    for group, rows in analysis_tables(list(analyses.values())).items():
        console.print(f"\n[bold]{group}[/bold]")
        print_rows(list(analyses), rows)
    if alone := latents_seen(analyses):
        console.print(alone, soft_wrap=True, markup=False)
    for p in [a.protocol for a in analyses.values() if a.protocol.frames is not None][:1]:
        _tell_clips(found, p)
    for name, reason in sorted(found.unread.items()):
        console.print(f"left out: {name} ({reason})", soft_wrap=True, markup=False)
    for name, analysis in analyses.items():
        for finding in findings(analysis):
            console.print(f"{name}: {finding}", soft_wrap=True, markup=False)


def _tell_clips(found: _Found, p: Protocol) -> None:
    """Which clips were analysed."""
    rate = f" at {p.fps:g} frames a second" if p.fps else ""
    seen = p.clips + len(next(iter(found.analyses.values())).broken)
    console.print(
        f"{seen} clips of {p.frames} frames of {p.height}x{p.width}{p.kind}{rate}", soft_wrap=True
    )
