"""The commands that there are, and where each is; none is imported here."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """Where a command's function is, and what it does, in a line."""

    module: str
    summary: str

    def load(self, name: str) -> Callable[..., Any]:
        """Its function, which is called as the last word of its name."""
        module = import_module(f"ssvae.cli.{self.module}")
        return getattr(module, name.split()[-1].replace("-", "_"))


COMMANDS = {
    "demo": Command(
        "demo",
        "Train two tiny VAEs, with and without LCR, and a diffusion model on each: a report.",
    ),
    "train": Command(
        "vae", "Train an autoencoder by a recipe. The same command again goes on where it stopped."
    ),
    "analyze": Command(
        "analysis",
        "Analyse one or more VAEs over the same clips: spectra, robustness, reconstruction, cost.",
    ),
    "app": Command(
        "app",
        "Serve a page to try models on: films through them, their latents, prompts, learning "
        "curves.",
    ),
    "shards": Command(
        "data",
        "Write videos and images into tar files to train on, with captions, sizes and rates "
        "beside.",
    ),
    "encode": Command(
        "video", "Encode a video of any length and size into a file of latents, for ssvae decode."
    ),
    "decode": Command(
        "video", "Decode a file of latents into a video with the original's frame times and sound."
    ),
    "reconstruct": Command(
        "video", "Encode and decode a video of any length and size; frame times and sound are kept."
    ),
    "convert": Command(
        "convert",
        "Convert a checkpoint of the published code into a model's folder, or the other way round.",
    ),
    "export-onnx": Command(
        "convert",
        "Write encoder and decoder as ONNX graphs, whole and as steps of a stream, and check them.",
    ),
    "stats": Command(
        "convert",
        "Mean and standard deviation of each latent channel, which diffusion models standardise "
        "by.",
    ),
    "cache-latents": Command(
        "diffusion", "Encode clips and captions once into shards that train-diffusion reads."
    ),
    "train-diffusion": Command(
        "diffusion",
        "Train a diffusion model on cached latents. The same command again goes on where it "
        "stopped.",
    ),
    "generate": Command(
        "diffusion",
        "Generate clips for prompts: a video each, a contact sheet of all, and clips.csv, a list.",
    ),
    "average": Command(
        "diffusion",
        "Make the EMA of a diffusion run's weights with another length, after the run.",
    ),
    "export": Command(
        "diffusion",
        "Write a diffusion run as one diffusers pipeline, the autoencoder with its statistics "
        "inside.",
    ),
    "fit-map": Command(
        "diffusion",
        "Fit an invertible map that changes the spectrum of a VAE's latents, not what they can "
        "say.",
    ),
    "train-probe": Command(
        "bench",
        "Train the probe that scores generated clips, on true clips of a source.",
    ),
    "evaluate reconstruction": Command(
        "evaluation",
        "PSNR, SSIM, LPIPS, rFVD and rKVD of reconstructions, with 95 % intervals over clips.",
    ),
    "evaluate generation": Command(
        "evaluation",
        "Fréchet and kernel distance of generated to true clips (FVD, KVD by I3D), with intervals.",
    ),
    "evaluate judge": Command(
        "evaluation",
        "Marks on five scales by a vision-language model behind an OpenAI-compatible endpoint.",
    ),
    "evaluate drift": Command(
        "drift",
        "PSNR, colour and contrast of clips that are encoded and decoded again and again.",
    ),
    "evaluate compare": Command(
        "comparison", "Lay evaluations side by side; where their protocols differ that is refused."
    ),
    "bench vaes": Command(
        "bench",
        "Which VAE's latents are learned faster? The same diffusion model on each, over seeds.",
    ),
    "bench interventions": Command(
        "bench", "Change the spectrum of one VAE's latents by invertible maps, and nothing else."
    ),
    "push": Command(
        "publish",
        "Put a model on the hub, private, with a card: what was measured, how it was trained.",
    ),
    "slurm": Command(
        "slurm",
        "Print a SLURM script that runs any command on several machines, and queues itself again.",
    ),
    "completion": Command(
        "completion", "Print a script that completes commands, recipes and options in your shell."
    ),
    "recipes": Command("recipes", "List the training recipes."),
    "models": Command(
        "models",
        "List the models that come with ssvae; with a name, how one was made and what it scores.",
    ),
}
"""In the order in which they are listed."""
GROUPS = {
    "evaluate": "Scores of reconstructions and of generated clips.",
    "bench": "Experiments: which latents are easy to diffuse?",
}
