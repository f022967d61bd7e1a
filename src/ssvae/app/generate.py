"""The third panel: clips for a prompt."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from diffusers import WanPipeline

from ssvae.app.player import SHORTEST
from ssvae.app.shared import in_a_sentence
from ssvae.app.stepwise import stepwise
from ssvae.app.turns import AT_ONCE, Job, Turns, waiting
from ssvae.data import Vocabulary, vocabulary_of
from ssvae.diffusion.pipeline import PipelineConfig, generate, open_pipeline
from ssvae.diffusion.preview import check_preview
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae
from ssvae.report.html import even, video_uri

MOST = 8  # clips
EXAMPLES = 4
SEED = 3  # of the examples' draw


def generate_panel(
    model: str,
    device: torch.device | str,
    dtype: torch.dtype,
    preview: str | None = None,
    turns: Turns | None = None,
) -> None:
    """Build the panel for a diffusion run, a checkpoint or a pipeline.

    ``turns`` are those that it shares with the other panels.

    ``preview`` is a VAE that decodes each step of the sampler: a student of the pipeline's, or
    itself.
    """
    pipeline, config = open_pipeline(model, None, device, dtype)
    decoder = None
    if preview is not None:
        decoder = open_vae(preview, device, dtype)
        check_preview(pipeline, decoder)
    vocabulary = _vocabulary(config)
    examples = [] if vocabulary is None else _examples(vocabulary)
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            prompt = gr.Textbox(
                examples[0] if examples else "", label="Prompt", lines=2, elem_id="generate-prompt"
            )
            if examples:
                gr.Examples([[text] for text in examples], prompt, label="For example")
            number = gr.Slider(1, MOST, 4, step=1, label="Clips", elem_id="generate-number")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="generate-seed")
            guidance = gr.Slider(
                1, 10, 3, step=0.5, label="Guidance", info="1 is none", elem_id="generate-guidance"
            )
            steps = gr.Slider(2, 100, 30, step=1, label="Steps", elem_id="generate-steps")
            start = gr.Button("Generate", variant="primary", elem_id="generate-start")
            stop = gr.Button("Cancel", elem_id="generate-stop")
        with gr.Column(scale=3, min_width=320):
            gr.HTML(f"<p>{_what_it_knows(Path(model).name, config, vocabulary)}</p>")
            clips = gr.HTML(elem_id="generate-clips")

    source = _Source(pipeline, config, decoder, turns or Turns())
    running = start.click(
        in_a_sentence(source.clips),
        [prompt, number, seed, guidance, steps],
        [clips],
        concurrency_id="models",
        concurrency_limit=AT_ONCE,
    )
    stop.click(None, cancels=[running])


@dataclass(frozen=True)
class _Source:
    """What makes the panel's clips."""

    pipeline: WanPipeline
    config: PipelineConfig
    decoder: Backbone | None
    """Of the sampler's steps, where they are shown."""
    turns: Turns

    def clips(
        self,
        text: str,
        count: int,
        first: int,
        strength: float,
        sampler_steps: int,
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator[str]:
        """The page's clips, again and again as they are made."""
        if not text.strip():
            raise ValueError("give a prompt")
        if not 1 <= count <= MOST or not 1 <= strength <= 100 or not 2 <= sampler_steps <= 1000:
            raise ValueError(f"1 to {MOST} clips, a guidance of 1 to 100 and 2 to 1000 steps")
        files: list[str] = []
        with self.turns.job() as job:
            for i in range(int(count)):
                shown = ""
                work = self._work(
                    job, text, i, count, first, strength, int(sampler_steps), progress
                )
                for event in stepwise(work):
                    if event is None:
                        continue
                    shown = _figure(event[0], self.config.fps or 8.0, event[1])
                    yield f'<div class="clips">{"".join([*files, shown])}</div>'
                files.append(shown)

    def _work(
        self,
        job: Job,
        text: str,
        i: int,
        count: int,
        first: int,
        strength: float,
        steps: int,
        progress: gr.Progress,
    ) -> Callable[[Callable[[Any], None]], tuple[torch.Tensor, str]]:
        """What makes clip ``i``, and tells of its steps."""

        def work(tell: Callable[[Any], None]) -> tuple[torch.Tensor, str]:
            def wait() -> None:
                for before in job.next_piece():
                    progress(i / count, desc=waiting(before))
                    tell(None)

            def show(_: int, step: int, latents: torch.Tensor) -> None:
                if self.decoder is None or step == steps:
                    tell(None)  # so that who cancels need not wait for the end
                else:
                    clip = self.decoder.decode(latents)[0].float().cpu()
                    tell((clip, f"{text}, {i + 1}: step {step} of {steps}"))
                wait()

            wait()
            (clip,) = generate(
                self.pipeline,
                [text],
                (self.config.frames, self.config.height, self.config.width),
                steps=steps,
                guidance=strength,
                seed=int(first),
                first=i,
                on_clips=lambda done: progress((i + done) / count, desc=f"clip {i + 1}"),
                on_step=show,
            )
            return clip, f"{text}, {i + 1}"

        return work


def _figure(clip: torch.Tensor, fps: float, title: str) -> str:
    scale = max(1, -(-SHORTEST // min(clip.shape[-2:])))
    source = video_uri(even(clip.repeat_interleave(scale, 2).repeat_interleave(scale, 3)), fps)
    name = escape(title, quote=True)
    return (
        f'<video src="{source}" aria-label="{name}" title="{name}" '
        "autoplay loop muted playsinline controls></video>"
    )


def _vocabulary(config: PipelineConfig) -> Vocabulary | None:
    """The words that its captions were made of; None where they may say anything."""
    try:
        return None if config.data is None else vocabulary_of(config.data)
    except ValueError:
        return None


def _examples(vocabulary: Vocabulary) -> list[str]:
    draw = random.Random(SEED)
    return [
        vocabulary.sentence.format(
            **{kind: draw.choice(list(words)) for kind, words in vocabulary.kinds.items()}
        )
        for _ in range(EXAMPLES)
    ]


def _what_it_knows(name: str, config: PipelineConfig, vocabulary: Vocabulary | None) -> str:
    """An honest word."""
    size = f"{config.frames} frames of {config.height}x{config.width}"
    if vocabulary is None:
        return escape(f"{name} makes clips of {size}, and knows what its training captions named.")
    sentence = vocabulary.sentence.format(**{kind: f"[{kind}]" for kind in vocabulary.kinds})
    words = "; ".join(f"{kind}: {', '.join(values)}" for kind, values in vocabulary.kinds.items())
    return escape(
        f"{name} makes clips of {size}, and knows nothing but “{sentence}”, with these words. "
        f"{words}."
    )
