"""A model to a hub, with a card of what was measured."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from ssvae.analysis import Subject
from ssvae.analysis.shared import SharedAnalysis
from ssvae.cli.analysis import clips_described
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, progress
from ssvae.data import open_fixed
from ssvae.data.sources import is_endless
from ssvae.diffusion.pipeline import assemble, checkpoint_of, load_config, save_pipeline
from ssvae.models.backbones import Backbone
from ssvae.models.finding import find_masking, open_vae
from ssvae.report.model_card import CardFacts, model_card
from ssvae.report.paper_tables import analysis_table, in_markdown
from ssvae.storage.digests import seal
from ssvae.storage.files import SEAL, check_folder, read_json, write_json, write_text
from ssvae.storage.hub import HUB_ID

CARD, TRAINING = "README.md", "training.json"
BATCH = 8  # clips that are measured at once


def push(
    model: tyro.conf.Positional[str],
    repository: tyro.conf.Positional[str],
    public: bool = False,
    license: str | None = None,
    videos: str | None = None,
    clips: int = 64,
    frames: int = 9,
    size: tuple[int, int] = (64, 64),
    fps: float | None = None,
    vae: str | None = None,
    dry_run: bool = False,
    out: Path | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Put a model on the hub, private, with a card: what was measured, how it was trained.

    open_vae and from_pretrained read it back by OWNER/NAME.

    Args:
        model: An autoencoder or a diffusion model: a run, a checkpoint, a model's folder, or one
            that comes with ssvae.
        repository: Where to, OWNER/NAME.
        public: Let everybody see it.
        license: Such as apache-2.0, for the card.
        videos: Clips to measure an autoencoder on, as ssvae analyze takes them; nothing is measured
            where not given.
        clips: Number of these clips.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        vae: The autoencoder of a diffusion model, where it has moved since its latents were cached.
        dry_run: Write what would be put there into --out, and ask no hub.
        out: The folder of a dry run; NAME where not given.
    """
    if not HUB_ID.fullmatch(repository) or repository.count("/") != 1 or "@" in repository:
        raise ValueError(f"a repository is named OWNER/NAME, got {repository}")
    size_of_clips = frames, *size

    def measured(backbone: Backbone) -> str:
        """The card's table."""
        if videos is None:
            return ""
        return _measured(backbone, repository, videos, clips, size_of_clips, fps, common)

    if dry_run:
        folder = out or Path(repository.split("/")[1])
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} is there already and not empty: choose another --out")
        check_folder(folder)
        _write(folder, model, repository, license, vae, measured, common)
        console.print(f"nothing was sent; what would be is in {folder}", soft_wrap=True)
        return
    with tempfile.TemporaryDirectory(prefix="ssvae-push-") as scratch:
        folder = Path(scratch) / "model"
        _write(folder, model, repository, license, vae, measured, common)
        where = _uploaded(folder, repository, public)
    console.print(f"{where} ({'public' if public else 'private'})", soft_wrap=True)


def _write(
    folder: Path,
    model: str,
    repository: str,
    license: str | None,
    vae: str | None,
    measured: Callable[[Backbone], str],
    common: Common,
) -> None:
    """All that is put on a hub, and a list of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if _is_diffusion(model):
        facts = _write_pipeline(model, repository, vae, folder, common)
    else:
        backbone = open_vae(model, common.accelerator().device, common.torch_dtype)
        facts = _write_autoencoder(model, repository, backbone, folder)
        facts["measured"] = measured(backbone)
    training = _settings(model)
    if training:
        write_json(folder / TRAINING, training, indent=2)
    for path in folder.rglob("*config.json"):  # diffusers notes where a model was
        config = {k: v for k, v in read_json(path).items() if k != "_name_or_path"}
        write_json(path, config, indent=2)
    seal(folder)
    sums = read_json(folder / SEAL)
    card = CardFacts(
        repository=repository, training=training, checksums=sums, license=license, **facts
    )
    write_text(folder / CARD, model_card(card))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        megabytes = path.stat().st_size / 1e6
        console.print(f"{megabytes:9.2f} MB  {path.relative_to(folder)}", soft_wrap=True)


def _is_diffusion(model: str) -> bool:
    """Whether a model is one of diffusion: a checkpoint or a pipeline has its transformer."""
    try:
        return (checkpoint_of(model) / "transformer").is_dir()
    except ValueError:
        return False


def _write_autoencoder(
    model: str, repository: str, backbone: Backbone, folder: Path
) -> dict[str, Any]:
    """The model's files; what its card says."""
    if not hasattr(backbone.vae, "save_pretrained"):
        raise ValueError(
            f"a {backbone.name} cannot be loaded from a hub: only classes of diffusers and ours can"
        )
    backbone.vae.save_pretrained(folder)
    with suppress(ValueError):  # where it was trained without
        shutil.copy(find_masking(model), folder / "masking.safetensors")
    millions = sum(p.numel() for p in backbone.vae.parameters()) / 1e6
    described = (
        f"A video autoencoder ({backbone.name}, {millions:.1f} M parameters). It takes clips of "
        f"{backbone.layout}; latents have {backbone.layout.channels} channels."
    )
    load = (
        f'from ssvae.models import open_vae\n\nvae = open_vae("{repository}")\n'
        "latents = vae.encode(clips).mean  # clips (B, 3, T, H, W) in [-1, 1]\n"
        "reconstructions = vae.decode(latents)"
    )
    return dict(described=described, load=load)


def _write_pipeline(
    model: str, repository: str, vae: str | None, folder: Path, common: Common
) -> dict[str, Any]:
    """The pipeline of a diffusion model; what its card says."""
    checkpoint = checkpoint_of(model)
    config = load_config(checkpoint)
    config = replace(config, data=_without_folders(config.data))
    if (checkpoint / "model_index.json").exists():
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        config.save(folder)
    else:
        backbone = None if vae is None else open_vae(vae)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            whole = Path(scratch) / "pipeline"
            save_pipeline(assemble(checkpoint, backbone, dtype=common.torch_dtype), config, whole)
            shutil.copytree(whole, folder, dirs_exist_ok=True)
    described = (
        f"A text-to-video diffusion model, with its autoencoder. It learned clips of "
        f"{config.frames} frames of {config.height}x{config.width}."
    )
    load = (
        "import ssvae  # its classes\nfrom diffusers import WanPipeline\n\n"
        f'pipeline = WanPipeline.from_pretrained("{repository}")'
    )
    return dict(
        described=described, load=load, measured="", library="diffusers", task="text-to-video"
    )


def _measured(
    backbone: Backbone,
    name: str,
    videos: str,
    clips: int,
    size: tuple[int, int, int],
    fps: float | None,
    common: Common,
) -> str:
    """The main figures of ``ssvae analyze``, as a table with its protocol."""
    accelerator = common.accelerator()
    channels = backbone.layout.in_channels
    source = open_fixed(videos, clips, *size, fps, 0, accelerator.device, channels)
    work = SharedAnalysis(
        source, accelerator, BATCH, fps, lpips=None, skip_artefacts=True, intervals=True
    )
    with progress("measuring", clips) as advance:
        found = work.analyse(Subject.of(backbone), lambda done, doing="": advance(done, doing))
    assert found is not None  # this is the main process
    described = clips_described(videos if is_endless(videos) else Path(videos).name, fps, 0)
    return in_markdown(analysis_table({name: found[0]}, described))


def _settings(model: str) -> Mapping[str, Any]:
    """The settings of the run that a model is of, without the folders of this machine."""
    place = Path(model)
    for folder in (place, *place.absolute().parents[:3]):
        if (folder / "checkpoints").is_dir() and (folder / "config.json").is_file():
            return _without_folders(json.loads((folder / "config.json").read_text()))
    return {}


def _without_folders(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {name: _without_folders(value) for name, value in settings.items()}
    if isinstance(settings, str) and ("/" in settings or "\\" in settings):
        return Path(settings).name
    return settings


def _uploaded(folder: Path, repository: str, public: bool) -> str:
    """Where a folder lies once it is there; a ValueError where the hub refuses."""
    api = HfApi()
    try:
        where = api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="A model, by ssvae push"
        )
    except LocalTokenNotFoundError as error:
        raise ValueError("the hub does not know who you are: hf auth login") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"the hub does not take {repository}: {reason}") from error
    return str(where)
