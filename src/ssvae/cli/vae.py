"""Commands about autoencoders."""

from pathlib import Path
from typing import Literal

from ssvae.cli.common import Common, CommonOptions, Kind, choice_of, run_recipe
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
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard",
    common: CommonOptions = Common(),
) -> None:
    """Train an autoencoder by a recipe. The same command again goes on where it stopped.

    Args:
        out: The run's folder.
        dry_run: Print the settings and the number of parameters, and train nothing.
        deterministic: On a GPU, take the slower kernels whose results repeat bit for bit.
        tracker: Where metrics and sample films go, beside the run's folder.
    """
    assert isinstance(recipe, TrainingRecipe)
    kept = None if tracker == "none" else tracker
    run_recipe(AUTOENCODER, recipe, out, dry_run, deterministic, common, kept)
