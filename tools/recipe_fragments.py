"""Fragments that are tables of the recipes' settings, from the recipes."""

from collections.abc import Callable, Mapping

from ssvae.recipes import DIFFUSION_RECIPES, RECIPES
from ssvae.report.tables import markdown
from ssvae.vae import AdaptRecipe, VAERecipe


def lengths() -> str:
    """Steps, batch size and rates of the recipes that train a VAE."""
    rows = []
    for name, recipe in ((name, make()) for name, make in RECIPES.items()):
        if name.endswith("-baseline"):
            continue
        muon = recipe.optimizer == "muon"
        lcr = recipe.lcr if isinstance(recipe, VAERecipe | AdaptRecipe) else None
        rows.append(
            [
                f"`{name}`",
                f"{recipe.steps:,}",
                str(recipe.batch_size),
                "Muon" if muon else "Adam",
                f"{recipe.muon_learning_rate if muon else recipe.learning_rate:g}",
                f"{lcr.weight:g}" if lcr is not None and lcr.enabled else "off",
            ]
        )
    return markdown(["recipe", "steps", "batch per process", "optimiser", "rate", "LCR"], rows)


def diffusion() -> str:
    """The shape of the diffusion recipes, and what they train with."""
    rows = []
    for name, recipe in ((name, make()) for name, make in DIFFUSION_RECIPES.items()):
        model, muon = recipe.model, recipe.optimizer == "muon"
        rows.append(
            [
                f"`{name}`",
                f"{model.layers} x {model.heads * model.head_dim}",
                "x".join(map(str, model.patch_size)),
                "Muon" if muon else "AdamW",
                f"{recipe.muon_learning_rate if muon else recipe.learning_rate:g}",
                str(recipe.batch_size),
                f"{recipe.steps:,}",
                f"{recipe.time_mean:g}",
            ]
        )
    columns = ["recipe", "blocks x width", "patch", "optimiser", "rate", "batch", "steps"]
    return markdown([*columns, "mean of the timesteps"], rows)


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "recipes.lengths": lengths,
    "recipes.diffusion": diffusion,
}
