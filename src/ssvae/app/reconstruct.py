"""The first panel: a film through one or two VAEs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ssvae.app.films import Limits, example_film, read_film
from ssvae.app.measuring import Reconstruction, reconstructed
from ssvae.app.player import panes, player
from ssvae.app.shared import Models, drawn, in_a_sentence, table
from ssvae.app.turns import AT_ONCE, waiting
from ssvae.losses import find_lpips
from ssvae.report.curves import frames_figure

MOST = 2


def reconstruct_panel(models: Models, limits: Limits, examples: Mapping[str, Path]) -> gr.File:
    """Build the panel; where its film is dropped."""
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            film = film_input(limits, examples)
            chosen = gr.CheckboxGroup(
                models.names,
                value=models.names[:MOST],
                label="Models, one or two",
                elem_id="reconstruct-models",
            )
            start = gr.Button("Reconstruct", variant="primary", elem_id="reconstruct-start")
            stop = gr.Button("Cancel", elem_id="reconstruct-stop")
        with gr.Column(scale=3, min_width=320):
            shown, summary = player("The film and its reconstructions"), gr.HTML()
            figures = gr.HTML(elem_classes=["plates"])

    @in_a_sentence
    def run(
        path: str | None, names: list[str], progress: gr.Progress = gr.Progress()
    ) -> Iterator[Any]:
        if not 1 <= len(names) <= MOST:
            raise ValueError(f"choose one or two models, {len(names)} are chosen")
        progress(0, desc="reading")
        given = film_of(path, models, names, limits)
        lpips, reconstructions = find_lpips(), dict[str, Reconstruction]()
        with models.turns.job() as job:
            for i, name in enumerate(names):

                def show(before: int, share: float = i / len(names), name: str = name) -> Any:
                    progress(share, desc=waiting(before) if before else f"through {name}")
                    return gr.skip(), given.description, gr.skip()  # where a cancelled run ends

                pieces = reconstructed(models[name], given.clip, lpips)
                reconstructions[name] = yield from job.run(pieces, show)
        progress(0.9, desc="drawing")
        clips = {given.name: given.clip} | {name: one.clip for name, one in reconstructions.items()}
        marks = {name: one.quality for name, one in reconstructions.items()}
        summary = f"<p>{given.description}</p>{table(HEAD, _rows(reconstructions))}"
        yield panes(clips, given.fps), summary, drawn(*frames_figure(marks))

    running = start.click(
        run,
        [film, chosen],
        [shown, summary, figures],
        concurrency_id="models",
        concurrency_limit=AT_ONCE,
        show_progress_on=[shown],
    )
    stop.click(None, cancels=[running])
    return film


def film_input(limits: Limits, examples: Mapping[str, Path]) -> gr.File:
    """Where a film is dropped, and those that are offered."""
    most = f"to {limits.megabytes} MB, {limits.seconds:g} s of it"
    label = f"A film or a picture ({most}); none: a synthetic film"
    film = gr.File(label=label, file_types=["video", "image"], height=130)
    offered = gr.Dataset(
        components=[gr.Textbox(visible=False)],
        samples=[[name] for name in examples],
        type="index",
        label="For example",
    )
    paths = list(map(str, examples.values()))
    offered.click(lambda which: paths[which], offered, film, queue=False, show_progress="hidden")
    return film


def film_of(path: str | None, models: Models, names: list[str], limits: Limits) -> Any:
    """The film that was given, or the example, at a size for these models."""
    layouts = [models[name].layout for name in names]
    return example_film(layouts) if path is None else read_film(Path(path), layouts, limits)


HEAD = ["", "PSNR, dB", "SSIM", "LPIPS", "bits a pixel", "encoding, s", "decoding, s"]


def _rows(reconstructions: Mapping[str, Reconstruction]) -> list[list[str]]:
    def mean(values: Any) -> str:
        return "–" if values is None else f"{float(values.mean()):.3f}"

    return [
        [
            name,
            f"{float(one.quality.psnr):.2f}",
            mean(one.quality.frame_ssim),
            mean(one.quality.frame_lpips),
            f"{one.bits_per_pixel:.3g}",
            f"{one.encode_seconds:.2f}",
            f"{one.decode_seconds:.2f}",
        ]
        for name, one in reconstructions.items()
    ]
