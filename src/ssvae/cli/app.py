"""The command that serves a page to try models on."""

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from ssvae.cli.analysis import named_models
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console


def app(
    models: tyro.conf.Positional[tuple[str, ...]] = (),
    generator: str = "world-t2v",
    preview: str | None = None,
    runs: Path | None = None,
    megabytes: int = 100,
    seconds: float = 4.0,
    side: int = 256,
    host: str = "127.0.0.1",
    port: int = 7860,
    open: Annotated[bool, tyro.conf.arg(help="Open the page in this machine's browser.")] = False,
    common: CommonOptions = Common(),
) -> None:
    """Serve a page to try models on: films through them, their latents, prompts, learning curves.

    It listens on this machine alone unless told otherwise, and tells nobody anything.

    Args:
        models: VAEs: runs, model folders, hub ids or published checkpoints; NAME=MODEL gives a
            name. Those that come with ssvae where none is given.
        generator: What makes clips for prompts: a diffusion run, a checkpoint of one, a pipeline,
            or a model that comes with ssvae.
        preview: A VAE that shows each step of the sampler while it runs: a student of the
            generator's own (ssvae train distil), or itself.
        runs: A folder of training runs, to compare them.
        megabytes: The largest film that may be uploaded.
        seconds: How much of a film is taken, from its beginning.
        side: The longer side in pixels that films are made smaller to.
        host: The address to listen on; 0.0.0.0 opens the page to all who reach this machine.
        port: The port; 0 takes one that is free.
    """
    try:
        from ssvae.app.films import Limits
        from ssvae.app.generate import generate_panel
        from ssvae.app.page import Address, build, serve
        from ssvae.app.shared import Models
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError("the page needs gradio: pip install 'ssvae[app]'") from error
    if runs is not None and not runs.is_dir():
        raise ValueError(f"--runs takes a folder of runs; there is none at {runs}")
    limits, device = Limits(megabytes, seconds, side), common.accelerator().device
    vaes = Models(named_models(models), device, common.torch_dtype)
    for name in vaes.names:
        vaes[name]  # a mistake is told before anything is served
    clips = partial(generate_panel, generator, device, common.torch_dtype, preview, vaes.turns)
    serve(
        partial(build, vaes, limits, clips, runs),
        limits,
        Address(host, port),
        lambda url: console.print(f"open {url}, end with Ctrl-C", soft_wrap=True),
        open,
    )
