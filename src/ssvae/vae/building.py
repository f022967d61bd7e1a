"""From a recipe to the model that it names, what it is trained on, and whether the two fit."""

from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

import torch

from ssvae.data.pixels import check_channels
from ssvae.data.sources import open_source
from ssvae.latents import CachedClips, LatentCache
from ssvae.models import AutoencoderConfig, AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from ssvae.models.blocks import channels_last
from ssvae.models.channels import with_channels
from ssvae.models.discriminator import Discriminator
from ssvae.models.finding import load_vae, open_vae, resolve_vae
from ssvae.models.students import student_of
from ssvae.regularizers.registry import enabled, registered
from ssvae.storage.problems import Problems
from ssvae.vae.distillation import Distillation
from ssvae.vae.objective import Objective, ReconstructionObjective, latent_spec
from ssvae.vae.recipe import (
    AdaptRecipe,
    DistilRecipe,
    RegularizedRecipe,
    TrainingRecipe,
    VAERecipe,
)

SMALLEST_PERCEPTUAL = 16  # pixels of a side that VGG16 leaves anything of
META = "meta"


@singledispatch
def build(recipe: TrainingRecipe, device: str = "cpu") -> Backbone:
    """The model with the weights that training starts from; on the device "meta" without any."""
    raise TypeError(f"no model is known for a {type(recipe).__name__}")


@build.register
def _(recipe: VAERecipe, device: str = "cpu") -> Backbone:
    with torch.device(device):
        vae = AutoencoderKLSSVAE(**vars(recipe.model))
    if recipe.init is not None and device != META:
        vae.load_state_dict(_initial_weights(recipe.init, vae))
    return Backbone(channels_last(vae))


@build.register
def _(recipe: AdaptRecipe, device: str = "cpu") -> Backbone:
    return open_vae(_where(recipe), device)


@build.register
def _(recipe: DistilRecipe, device: str = "cpu") -> Backbone:
    layout = open_vae(recipe.teacher, META).layout
    config = vars(student_of(layout, recipe.student))
    with torch.device(device):
        return Backbone(channels_last(AutoencoderKLSSVAE(**config, halves=recipe.halves)))


def parameters_of(recipe: TrainingRecipe) -> int:
    """Number of parameters of the model."""
    return sum(p.numel() for p in build(recipe, META).vae.parameters())


def objective_of(
    backbone: Backbone, recipe: TrainingRecipe, device: torch.device | str
) -> ReconstructionObjective:
    """What the model is trained on, there; its teacher beside it where it has one."""
    if isinstance(recipe, RegularizedRecipe):
        return Objective(backbone, recipe).to(device)
    assert isinstance(recipe, DistilRecipe)
    teacher = open_vae(recipe.teacher, device)
    teacher.vae.requires_grad_(False)
    return Distillation(backbone, teacher, recipe).to(device)


def problems_of(recipe: TrainingRecipe) -> list[str]:
    """All that is wrong with a recipe, and where model, clips and losses do not fit each other."""
    problems, clip = recipe.problems(), recipe.clip
    if isinstance(recipe, DistilRecipe):
        _check_cache(recipe, problems)
    named = getattr(recipe, "model", True) and getattr(recipe, "teacher", True)
    if named:  # else there is nothing to look at
        with problems.of():
            backbone = build(recipe, META)
            check_channels(backbone.clip_channels)
            if recipe.gradient_checkpointing:
                backbone.enable_gradient_checkpointing()
            if recipe.compile:
                backbone.compile()
            for frames in {clip.frames, 1} if recipe.images.share else {clip.frames}:
                shape = backbone.latent_shape(frames, clip.height, clip.width)
                if isinstance(recipe, RegularizedRecipe):
                    _check_latents(recipe, backbone, shape, problems)
    _check_sides(recipe, problems)
    return problems.found


def _check_latents(
    recipe: RegularizedRecipe, backbone: Backbone, shape: tuple[int, ...], problems: Problems
) -> None:
    """Note where settings of regularisers are wrong, or do not suit latents of this shape."""
    latents = latent_spec(backbone)
    mean = torch.zeros(1, *shape, device=META).squeeze(2)
    for name in registered():
        config = getattr(recipe, name)
        with problems.of(name):
            config.hooks(latents)
            if config.enabled:
                config.check(mean, latents)


def _check_sides(recipe: TrainingRecipe, problems: Problems) -> None:
    """Note where clips, or what regularisers make of them, are too small for the losses."""
    size = f"{recipe.clip.height}x{recipe.clip.width}"
    side = min(recipe.clip.height, recipe.clip.width)
    scaled = {"": (1.0, True)}
    if isinstance(recipe, RegularizedRecipe):
        scaled |= {
            f", scaled by {name}": (config.smallest_scale, config.IS_JUDGED)
            for name, config in enabled(recipe).items()
            if config.smallest_scale < 1
        }
    smallest = Discriminator.smallest_side(recipe.gan.halvings)
    for cause, (scale, judged) in scaled.items():
        problems.require(
            not recipe.perceptual.weight > 0 or side * scale >= SMALLEST_PERCEPTUAL,
            f"perceptual needs sides of at least {SMALLEST_PERCEPTUAL} pixels, got {size}{cause}",
        )
        problems.require(
            recipe.gan.start is None or not judged or side * scale >= smallest,
            f"gan needs sides of at least {smallest} pixels, got {size}{cause}: give a smaller "
            "gan.halvings",
        )


def cached_clips(recipe: DistilRecipe, teacher: Backbone, device: torch.device) -> CachedClips:
    """The clips of the recipe's cache, with the teacher's posteriors; a ValueError for
    another's.
    """
    assert recipe.latents is not None
    cache = LatentCache(recipe.latents)
    config = cache.config
    source = open_source(
        recipe.data,
        *config.size,
        config.fps,
        config.seed,
        device,
        recipe.max_broken,
        teacher.clip_channels,
    )
    clips = CachedClips(cache, source, recipe.seed)
    clips.check(teacher)
    return clips


def _check_cache(recipe: DistilRecipe, problems: Problems) -> None:
    """Note why the recipe's cache is none of its clips."""
    if recipe.latents is None:
        return
    with problems.of():
        cache = LatentCache(recipe.latents)
        cache.check_moments()
        of_cache, clip = cache.config, recipe.clip
        for name, there, here in (
            ("data", of_cache.data, recipe.data),
            ("frames", of_cache.frames, clip.frames),
            ("size", f"{of_cache.height}x{of_cache.width}", f"{clip.height}x{clip.width}"),
            ("fps", of_cache.fps, clip.fps),
            ("multiples", (1,), clip.multiples),
        ):
            problems.require(
                there == here,
                f"the cache in {recipe.latents} is of {name} {there}, the recipe of {here}: give "
                "the same",
            )


def _where(recipe: AdaptRecipe) -> str:
    """Where the VAE of an :class:`AdaptRecipe` is."""
    if recipe.subfolder is None:
        return resolve_vae(recipe.model)
    inside = Path(recipe.model) / recipe.subfolder
    on_disk = Path(recipe.model).exists()
    return resolve_vae(str(inside) if on_disk else f"{recipe.model}/{recipe.subfolder}")


def _initial_weights(path: str, vae: AutoencoderKLSSVAE) -> dict[str, torch.Tensor]:
    """The weights of a trained model of the shape of ``vae``, but for its clips' channels."""
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
            f"the model in {path} has another shape ({'; '.join(other)}): give the same --model "
            "options"
        )
    return trained.state_dict()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
