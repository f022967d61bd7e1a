"""Commands about autoencoders."""

from pathlib import Path

from ssvae.cli.common import (
    Common,
    CommonOptions,
    Kind,
    Tracking,
    TrackingOptions,
    choice_of,
    run_recipe,
)
from ssvae.cli.samples import show_samples
from ssvae.recipes import RECIPES
from ssvae.vae import TrainingRecipe, parameters_of, problems_of, train_autoencoder

Recipe = choice_of(RECIPES)
AUTOENCODER = Kind(train_autoencoder, problems_of, parameters_of, show_samples)


def train(
    recipe: Recipe,  # type: ignore[valid-type]
    out: Path,
    dry_run: bool = False,
    deterministic: bool = False,
    tracking: TrackingOptions = Tracking(),
    common: CommonOptions = Common(),
) -> None:
    """Train an autoencoder by a recipe. The same command again goes on where it stopped.

    Args:
        out: The run's folder.
        dry_run: Print the settings and the number of parameters, and train nothing.
        deterministic: On a GPU, take the slower kernels whose results repeat bit for bit.
    """
    assert isinstance(recipe, TrainingRecipe)
    run_recipe(AUTOENCODER, recipe, out, dry_run, deterministic, common, tracking)
