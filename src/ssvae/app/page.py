"""The page whole, and its server."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import gradio as gr

from ssvae.app.films import Limits, example_films
from ssvae.app.inside import inside_panel
from ssvae.app.reconstruct import reconstruct_panel
from ssvae.app.runs import runs_panel
from ssvae.app.shared import Models
from ssvae.app.turns import AT_ONCE

FORGOTTEN_AFTER = 1800  # seconds that an uploaded film is kept


@dataclass(frozen=True)
class Address:
    """Where the page is served."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 is everyone's who reaches this machine."""
    port: int = 7860
    """Another is taken where 0."""


def build(
    models: Models,
    limits: Limits,
    generator: Callable[[], None] | None = None,
    runs: Path | None = None,
    *,
    folder: Path,
) -> gr.Blocks:
    """The page: a panel for each thing to try. ``generator`` builds that for prompts, ``folder`` is
    for films that are offered.
    """
    examples = example_films(folder)
    with gr.Blocks(
        title="SSVAE", analytics_enabled=False, delete_cache=(60, FORGOTTEN_AFTER), fill_width=True
    ) as page:
        gr.Markdown("# SSVAE\nVideo autoencoders whose latents are easy to diffuse.")
        with gr.Tabs():
            with gr.Tab("Reconstruct"):
                first = reconstruct_panel(models, limits, examples)
            with gr.Tab("Look inside"):
                second = inside_panel(models, limits, examples)
            if generator is not None:
                with gr.Tab("Generate"):
                    generator()
            if runs is not None:
                with gr.Tab("Compare runs"):
                    runs_panel(runs, page)
        for one, other in ((first, second), (second, first)):  # a film is given to both
            for event in (one.upload, one.clear):
                event(lambda path: path, one, other, queue=False, show_progress="hidden")
    return page.queue(max_size=AT_ONCE, default_concurrency_limit=1, api_open=False)


def serve(
    make_page: Callable[..., gr.Blocks],
    limits: Limits,
    address: Address,
    on_ready: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Serve the page until it is interrupted; what was uploaded is removed then at the latest.

    ``make_page`` takes a ``folder`` for its films. ``on_ready`` hears its address. Nothing is
    shared, and nothing told to others.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="ssvae-app-") as folder:
        uploads, offered = (Path(folder) / name for name in ("uploads", "examples"))
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # before the page is made, which remembers it
        page = make_page(folder=offered)
        _, url, _ = page.launch(
            server_name=address.host,
            server_port=address.port or None,
            share=False,
            allowed_paths=[str(offered)],
            inbrowser=open_browser,
            quiet=True,
            prevent_thread_lock=True,
            show_error=False,
            max_file_size=int(limits.megabytes * 1e6),
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gr.themes.Base(
                primary_hue="blue",
                neutral_hue="slate",
                font=["system-ui", "sans-serif"],
                font_mono=["ui-monospace", "monospace"],
            ),
            css=(files("ssvae.app") / "style.css").read_text(),
        )
        on_ready(url)
        page.block_thread()
