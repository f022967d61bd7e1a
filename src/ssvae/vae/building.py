"""From a recipe to the model that it names, and whether the two fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ssvae.data.pixels import check_channels
from ssvae.data.sources import open_source
from ssvae.latents import CachedClips, LatentCache
from ssvae.models import AutoencoderConfig, AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.channels import with_channels
from ssvae.models.discriminator import Discriminator
from ssvae.models.finding import load_vae, resolve_vae
from ssvae.models.students import student_of
from ssvae.regularizers import LatentMasking, LocalCorrelation
from ssvae.vae.distillation import Distillation
from ssvae.vae.objective import Objective
from ssvae.vae.recipe import AdaptRecipe, DistilRecipe, TrainingRecipe, VAERecipe
from ssvae.vae.rivals import Rivals

SMALLEST_PERCEPTUAL = 16  # pixels of a side that VGG16 leaves anything of


def build(recipe: TrainingRecipe) -> Backbone:
    """The model, with the weights that training starts from."""
    if isinstance(recipe, AdaptRecipe):
        return load_backbone(_where(recipe))
    if isinstance(recipe, DistilRecipe):
        return Backbone(channels_last(AutoencoderKLSSVAE(**_student(recipe))))
    assert isinstance(recipe, VAERecipe)
    vae = AutoencoderKLSSVAE(**vars(recipe.model))
    if recipe.init is not None:
        vae.load_state_dict(_initial_weights(recipe.init, vae))
    return Backbone(channels_last(vae))


def build_on_meta(recipe: TrainingRecipe) -> Backbone:
    """The model without its weights."""
    if isinstance(recipe, AdaptRecipe):
        return load_backbone(_where(recipe), "meta")
    if isinstance(recipe, DistilRecipe):
        with torch.device("meta"):
            return Backbone(AutoencoderKLSSVAE(**_student(recipe)))
    assert isinstance(recipe, VAERecipe)
    with torch.device("meta"):
        return Backbone(AutoencoderKLSSVAE(**vars(recipe.model)))


def objective_of(
    backbone: Backbone, recipe: TrainingRecipe, device: torch.device | str
) -> Objective:
    """What the model is trained on, there; its teacher beside it where it has one."""
    if not isinstance(recipe, DistilRecipe):
        return Objective(backbone, recipe).to(device)
    teacher = load_backbone(resolve_vae(recipe.teacher), device)
    teacher.vae.requires_grad_(False)
    return Distillation(backbone, teacher, recipe).to(device)


def cached_clips(recipe: DistilRecipe, teacher: Backbone, device: torch.device) -> CachedClips:
    """The clips of the recipe's cache, with the teacher's posteriors; a ValueError where they are not."""
    assert recipe.latents is not None
    cache = LatentCache(recipe.latents)
    held = cache.config
    source = open_source(
        recipe.data,
        *held.size,
        held.fps,
        held.seed,
        device,
        recipe.max_broken,
        teacher.clip_channels,
    )
    clips = CachedClips(cache, source, recipe.seed)
    clips.check(teacher)
    return clips


def _problems_of_cache(recipe: DistilRecipe) -> list[str]:
    """Why the recipe's cache is none of its clips; empty where it is, or none is given."""
    if recipe.latents is None:
        return []
    try:
        cache = LatentCache(recipe.latents)
        cache.check_moments()
    except ValueError as error:
        return [str(error)]
    held, clip, wrong = cache.config, recipe.clip, []
    for name, there, here in (
        ("data", held.data, recipe.data),
        ("frames", held.frames, clip.frames),
        ("size", f"{held.height}x{held.width}", f"{clip.height}x{clip.width}"),
        ("fps", held.fps, clip.fps),
    ):
        if there != here:
            wrong.append(
                f"the cache in {recipe.latents} is of {name} {there}, the recipe of {here}: give the same"
            )
    return wrong


def _student(recipe: DistilRecipe) -> dict[str, Any]:
    """Arguments of the student's model."""
    layout = load_backbone(resolve_vae(recipe.teacher), "meta").layout
    return dict(vars(student_of(layout, recipe.student)), halves=recipe.halves)


def parameters_of(recipe: TrainingRecipe) -> int:
    """Number of parameters of the model."""
    return sum(p.numel() for p in build_on_meta(recipe).vae.parameters())


def problems_of(recipe: TrainingRecipe) -> list[str]:
    """All that is wrong with a recipe, and where model, clips and losses do not fit each other."""
    wrong, lmr, clip = recipe.problems(), recipe.lmr, recipe.clip
    if isinstance(recipe, AdaptRecipe) and not recipe.model:
        return wrong
    if isinstance(recipe, DistilRecipe):
        if not recipe.teacher:
            return wrong
        wrong += _problems_of_cache(recipe)
    try:
        LatentMasking(2, lmr.ratios, lmr.probabilities, lmr.block)
    except ValueError as error:
        wrong.append(str(error))
    try:
        backbone = build_on_meta(recipe)
        check_channels(backbone.clip_channels)
        if recipe.gradient_checkpointing:
            backbone.enable_gradient_checkpointing()
        if recipe.compile:
            backbone.compile()
        for frames in {clip.frames, 1} if recipe.images.share else {clip.frames}:
            shape = backbone.latent_shape(frames, clip.height, clip.width)
            latents = torch.zeros(1, *shape, device="meta")
            lcr = LocalCorrelation(
                recipe.lcr.window, recipe.lcr.threshold, backbone.lone_first_frame
            )
            lcr(latents.squeeze(2))
        Rivals(recipe, backbone.layout)
        _, _, h, w = backbone.latent_shape(clip.frames, clip.height, clip.width)
        if recipe.spectrum_matching.weight and min(h, w) < 2:
            wrong.append(f"spectrum_matching needs latents of at least 2x2, got {h}x{w}")
    except ValueError as error:
        wrong.append(str(error))
    side, size = min(clip.height, clip.width), f"{clip.height}x{clip.width}"
    pairs, scale = recipe.equivariance, recipe.scale_equivariance
    # What makes clips smaller, and by how much at most; the discriminators see the first alone.
    least = {"equivariance.scales": min(pairs.scales)} if pairs.probability else {}
    besides = {"scale_equivariance.factors": 1 / max(scale.factors)} if scale.weight else {}
    for name, share in ({"": 1.0} | least | besides).items():
        cause = f", scaled by {name}" if name else ""
        if recipe.perceptual.weight > 0 and side * share < SMALLEST_PERCEPTUAL:
            wrong.append(
                f"perceptual needs sides of at least {SMALLEST_PERCEPTUAL} pixels, got {size}{cause}"
            )
        smallest = Discriminator.smallest_side(recipe.gan.halvings)
        if recipe.gan.start is not None and name not in besides and side * share < smallest:
            wrong.append(
                f"gan needs sides of at least {smallest} pixels, got {size}{cause}: give a smaller "
                "gan.halvings"
            )
    return wrong


def _where(recipe: AdaptRecipe) -> str:
    """Where the VAE of an :class:`AdaptRecipe` is."""
    if recipe.subfolder is None:
        return resolve_vae(recipe.model)
    inside = Path(recipe.model) / recipe.subfolder
    on_disk = Path(recipe.model).exists()
    return resolve_vae(str(inside) if on_disk else f"{recipe.model}/{recipe.subfolder}")


def _initial_weights(path: str, vae: AutoencoderKLSSVAE) -> dict[str, torch.Tensor]:
    """The weights of a trained model, which must have the shape of ``vae``, but for its clips' channels."""
    trained = load_vae(path)
    channels = vae.config["in_channels"]
    if channels == vae.config["out_channels"] != 3 == trained.config["in_channels"]:
        trained = with_channels(trained, channels)
    other = [
        f"{name} is {trained.config[name]} there and {vae.config[name]} here"
        for name in vars(AutoencoderConfig())
        if not name.startswith("latents_")
        and _plain(trained.config[name]) != _plain(vae.config[name])
    ]
    if other:
        raise ValueError(
            f"the model in {path} has another shape ({'; '.join(other)}): give the same --model options"
        )
    return trained.state_dict()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
