"""The second panel: the latents of a film, their spectra, and what noise and a lower band do to
them.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from ssvae.analysis import Analysis, advise, findings
from ssvae.app.films import Film, Limits
from ssvae.app.measuring import (
    analysed,
    decoded,
    disturbed,
    encoded,
    on_frames,
    principal_colours,
)
from ssvae.app.player import panes, player
from ssvae.app.reconstruct import film_input, film_of
from ssvae.app.shared import Models, drawn, in_a_sentence
from ssvae.app.turns import AT_ONCE, waiting
from ssvae.report.analysis_figures import plates

COMPARED = 3
"""Models beside the one that is looked into."""
SHOWN = ("frequency", "channels", "robustness")
FORGOTTEN_AFTER = 1800  # seconds


@dataclass(frozen=True)
class Looked:
    """A film, its latents (1, C, t, h, w), and the model that made them."""

    model: str
    film: Film
    z: torch.Tensor


LEGEND = (
    "The three strongest principal channels are red, green and blue. Latents whose energy lies at "
    "low frequencies keep the picture when the band is cut; a diffusion model learns those first."
)


def inside_panel(models: Models, limits: Limits, examples: Mapping[str, Path]) -> gr.File:
    """Build the panel; where its film is dropped."""
    looked = gr.State(None, time_to_live=FORGOTTEN_AFTER)
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            film = film_input(limits, examples)
            model = gr.Radio(
                models.names, value=models.names[0], label="Model", elem_id="inside-model"
            )
            others = gr.CheckboxGroup(
                models.names,
                value=models.names[: COMPARED + 1],
                label="Spectra of",
                elem_id="inside-others",
            )
            start = gr.Button("Look inside", variant="primary", elem_id="inside-start")
            stop = gr.Button("Cancel", elem_id="inside-stop")
            noise, cut = _sliders()
        with gr.Column(scale=3, min_width=320):
            shown = player("The film, its latents in colours, and their decoding")
            gr.Markdown(LEGEND)
            words, figures = gr.HTML(), gr.HTML(elem_classes=["plates"])

    panel = _Inside(models, limits)
    running = start.click(
        in_a_sentence(panel.look),
        [film, model, others, noise, cut],
        [looked, shown, words, figures],
        concurrency_id="models",
        concurrency_limit=AT_ONCE,
        show_progress_on=[shown],
    )
    stop.click(None, cancels=[running])
    for slider in (noise, cut):
        slider.input(  # dragged or typed
            in_a_sentence(panel.disturb),
            [looked, noise, cut],
            [shown],
            concurrency_id="models",
            concurrency_limit=AT_ONCE,
            trigger_mode="always_last",
            show_progress="minimal",
        )
    return film


def _sliders() -> tuple[gr.Slider, gr.Slider]:
    """Noise on the latents, and the band that is kept of them."""
    noise = gr.Slider(
        0,
        2,
        0,
        step=0.05,
        label="Noise on the latents",
        info="in standard deviations of each channel",
        elem_id="inside-noise",
    )
    cut = gr.Slider(
        0.02,
        1,
        1,
        step=0.02,
        label="Frequencies kept",
        info="the lowest, as a share of the band; 1 keeps all",
        elem_id="inside-cut",
    )
    return noise, cut


@dataclass(frozen=True)
class _Inside:
    """What the panel's buttons and sliders do."""

    models: Models
    limits: Limits

    def look(
        self,
        path: str | None,
        name: str,
        compared: list[str],
        sigma: float,
        share: float,
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator[Any]:
        """What was looked into, the film beside it, words, and figures."""
        names = [name, *(other for other in compared if other != name)][: COMPARED + 1]
        progress(0, desc="reading")
        film = film_of(path, self.models, names, self.limits)
        said, nothing = f"<p>{film.description}</p>", (gr.skip(),) * 4

        def show(what: str, share: float) -> Callable[[int], Any]:
            def told(before: int) -> Any:
                progress(share, desc=waiting(before) if before else what)
                return nothing  # where a cancelled run ends

            return told

        with self.models.turns.job() as job:
            looked, films = yield from job.run(
                self._first(name, film, sigma, share), show(f"through {name}", 0.2)
            )
            yield looked, films, said, gr.skip()
            analyses: dict[str, Analysis] = {}
            for i, other in enumerate(names):
                pieces = analysed(self.models[other], film.clip)
                told = show(f"spectra of {other}", 0.3 + 0.6 * i / len(names))
                analyses[other] = yield from job.run(pieces, told)
        chosen = [plate for plate in plates(analyses) if plate.name in SHOWN]
        words = f"{said}{_in_words(name, analyses[name])}"
        yield gr.skip(), gr.skip(), words, drawn(*(plate.figure(analyses) for plate in chosen))

    def _first(
        self, name: str, film: Film, sigma: float, share: float
    ) -> Generator[None, None, tuple[Looked, Any]]:
        """The latents of a film, then the film beside them."""
        looked = Looked(name, film, encoded(self.models[name], film.clip))
        yield
        return looked, _films(looked, self.models, sigma, share)

    def disturb(self, looked: Looked | None, sigma: float, share: float) -> Iterator[Any]:
        """The film beside it again, under noise and a lower band."""
        if looked is None:
            yield gr.skip()
            return
        with self.models.turns.job() as job:
            for _ in job.next_piece():
                yield gr.skip()
            yield _films(looked, self.models, sigma, share)


def _films(found: Looked, models: Models, sigma: float, share: float) -> dict[str, Any]:
    """The film, its latents as they are disturbed, and their decoding, for a player."""
    backbone, clip = models[found.model], found.film.clip
    z = disturbed(found.z, sigma, share)
    latents = on_frames(principal_colours(z, found.z), clip, backbone)
    shown = {found.film.name: clip, "latents": latents, "decoded": decoded(backbone, z)}
    return panes(shown, found.film.fps)


def _in_words(name: str, analysis: Analysis) -> str:
    """What stands out, and which bias is there."""
    said = [escape(sentence) for sentence in findings(analysis)] or [
        "Nothing is broken: all numbers are finite and every channel carries something."
    ]
    said += [
        f"{escape(a.bias)}: <strong>{escape(a.verdict)}</strong>. {escape(a.found)} "
        f"{escape(a.remedy)}"
        for a in advise(analysis)
    ]
    items = "".join(f"<li>{sentence}</li>" for sentence in said)
    return f"<h3>{escape(name)}, on this film alone</h3><ul>{items}</ul>"
