"""What tests share. Torch and the package are imported where they are used: pytest-xdist's first
process runs no test, and would import them all the same.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ssvae.models import AutoencoderKLSSVAE

pytest_plugins = ["conftest_torture"]


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_process() -> Iterator[None]:
    """accelerate settles device and number format once a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def vae() -> "AutoencoderKLSSVAE":
    """The tiny preset, smaller still."""
    from small_runs import small_vae

    return small_vae()


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory) -> Path:
    """A small VAE with random weights that are not zero anywhere, saved."""
    from small_diffusion import save_vae

    return save_vae(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="session")
def cache(vae_folder, tmp_path_factory) -> Path:
    """A cache of 20 clips in shards of 8."""
    from small_diffusion import save_latents

    return save_latents(vae_folder, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def run(cache, tmp_path_factory) -> Path:
    """A diffusion run of four steps."""
    from small_diffusion import save_run

    return save_run(cache, tmp_path_factory.mktemp("diffusion") / "run")
