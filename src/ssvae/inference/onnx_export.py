"""Encoder and decoder as ONNX graphs, whole and as steps of a stream, and proof that they agree.

Six files, float32, of any batch, length and size:

- ``encoder.onnx``: clips (B, C, T, H, W) of T = 4n + 1 >= 5 frames to ``latents``, the
  posterior's mean, and ``log_variance``.
- ``encoder_first.onnx``: a first frame, or an image, to the same and the caches that come after it.
- ``encoder_next.onnx``: a multiple of four frames and the caches before, to the same and those
after.
- ``decoder.onnx``, ``decoder_first.onnx``, ``decoder_next.onnx``: likewise latents (B, z, t, h, w)
to
  ``clip``; all of them, the first one, any number of later ones.

Caches are inputs ``cache_0``, ``cache_1``, ... and outputs ``next_0``, ``next_1``, ..., in one
order. Needs ``pip install 'ssvae[onnx]'``.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.posterior import DiagonalGaussian
from ssvae.storage.files import check_folder, replacing

PARTS = ("encoder", "encoder_first", "encoder_next", "decoder", "decoder_first", "decoder_next")
TOLERANCE = 1e-4
SIZES = ((1, 3, 2, 3), (2, 6, 5, 4))
"""What exports are checked on: batch, latent frames, rows and columns of latents."""
STREAMS = ((1, 1, 1), (1, 3, 2))
"""Latent frames in each piece of a stream, of the same clips."""


class _Whole(nn.Module):
    """A clip in one go."""

    def __init__(self, coder: nn.Module, named: Callable[..., Any]):
        super().__init__()
        self.coder, self.named = coder, named

    def forward(self, x: torch.Tensor) -> Any:
        return self.named(self.coder(x)[0])


class _First(_Whole):
    """The first frame of a clip, and the caches after it."""

    def forward(self, x: torch.Tensor) -> Any:
        y, cache = self.coder(x, ())
        return self.named(y), tree_flatten(cache)[0]


class _Next(nn.Module):
    """Later frames, with the caches before and after them."""

    def __init__(self, coder: nn.Module, named: Callable[..., Any], spec: TreeSpec):
        super().__init__()
        self.coder, self.named, self.spec = coder, named, spec

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor]) -> Any:
        y, after = self.coder(x, tree_unflatten(cache, self.spec))
        return self.named(y), tree_flatten(after)[0]


def export_onnx(
    vae: AutoencoderKLSSVAE,
    out: str | Path,
    parts: Sequence[str] | None = None,
    on_part: Callable[[int, str], Any] = lambda done, part: None,
) -> dict[str, float]:
    """Write ``parts`` into a folder and compare them with the model, by onnxruntime on the CPU.

    All parts where None, or those of the half that a student learned. Returns for each part the
    largest difference over :data:`SIZES`; one above ``TOLERANCE`` of the largest value is a
    ValueError. ``on_part`` hears how many are done, and which comes next. The model stays as it is.
    """
    _needed()
    parts = parts_of(vae) if parts is None else parts
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"parts are {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    folder = Path(out)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if vae.encoder.strips is not None:
        raise ValueError(
            "a model whose clips processes share is not exported: disable_parallel before"
        )
    vae = copy.deepcopy(vae).float().cpu().eval()
    vae.disable_tiling()
    vae.disable_slicing()
    vae.disable_streaming()
    for done, part in enumerate(parts):
        on_part(done, part)
        with torch.no_grad(), _quiet():
            program: Any = _exported(vae, part)
        program.model.metadata_props.update(_facts(vae))
        with replacing(folder / f"{part}.onnx") as partial:
            program.save(partial)
    on_part(len(parts), "checked")
    apart = compare(vae, folder, parts)
    for part, difference in apart.items():
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{folder / part}.onnx differs from the model by {difference:.2g} of its largest "
                f"value, more than {TOLERANCE:g}: do not use it"
            )
    return apart


def parts_of(vae: AutoencoderKLSSVAE) -> tuple[str, ...]:
    """All parts, or those of the half that was trained."""
    half = vae.config["halves"]
    return tuple(part for part in PARTS if half == "both" or part.startswith(half))


def _exported(vae: AutoencoderKLSSVAE, part: str) -> Any:
    """One part as a program of torch's exporter."""
    kind, _, step = part.partition("_")
    coder = getattr(vae, kind)
    x, names = _example(vae, kind), _NAMES[kind]
    first = x[:, :, :1].contiguous()
    unit = vae.time_factor if kind == "encoder" else 1
    frames = None if step == "first" else "frames"
    axes = ("batch", None, frames, "height", "width")
    cache, spec = tree_flatten(coder(first, ())[1])
    inputs: Any
    if not step:
        module, inputs, shapes = _Whole(coder, _OUTPUTS[kind]), (x,), (axes,)
    elif step == "first":
        module, inputs, shapes = _First(coder, _OUTPUTS[kind]), (first,), (axes,)
    else:
        module = _Next(coder, _OUTPUTS[kind], spec)
        inputs = x[:, :, 1 : 1 + 2 * unit].contiguous(), cache
        sides = [(f"height_{i}", f"width_{i}") for i in range(len(cache))]
        shapes = axes, [("batch", None, None, *side) for side in sides]
    before = [f"cache_{i}" for i in range(len(cache))] if step == "next" else []
    after = [f"next_{i}" for i in range(len(cache))] if step else []
    return torch.onnx.export(
        module.eval(),
        inputs,
        dynamic_shapes=shapes,
        input_names=[names[0], *before],
        output_names=[*names[1:], *after],
        dynamo=True,
        verbose=False,
    )


def _moments(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    posterior = DiagonalGaussian(moments)
    return posterior.mean, posterior.logvar


_NAMES = {"encoder": ("clip", "latents", "log_variance"), "decoder": ("latents", "clip")}
_OUTPUTS = {"encoder": _moments, "decoder": lambda clip: clip}


def _example(vae: AutoencoderKLSSVAE, kind: str) -> torch.Tensor:
    """What a part is traced with; sides that differ, so that none is taken for another."""
    batch, frames, height, width = 2, 5, 6, 5
    if kind == "decoder":
        return torch.randn(batch, vae.config["z_dim"], frames, height, width)
    side, length = vae.space_factor, 1 + (frames - 1) * vae.time_factor
    return torch.randn(batch, vae.config["in_channels"], length, height * side, width * side)


def _facts(vae: AutoencoderKLSSVAE) -> dict[str, str]:
    """What a user of the files must know about the model."""
    facts = dict(
        time_factor=vae.time_factor,
        space_factor=vae.space_factor,
        latents_mean=vae.config["latents_mean"],
        latents_std=vae.config["latents_std"],
    )
    return {f"ssvae.{name}": json.dumps(value) for name, value in facts.items()}


def compare(
    vae: AutoencoderKLSSVAE, folder: str | Path, parts: Sequence[str] = PARTS
) -> dict[str, float]:
    """The largest difference of each part in a folder from the model, in units of its largest
    value.

    Over clips of :data:`SIZES`; streams in pieces of :data:`STREAMS`, where the first step gives
    the next its caches.
    """
    apart = dict.fromkeys(parts, 0.0)
    kinds = {part.partition("_")[0] for part in parts}
    for size, plan in zip(SIZES, STREAMS, strict=True):
        for kind in sorted(kinds):
            given, expected, units = _truth(vae, kind, *size)
            if kind in parts:
                found = _run(Path(folder) / f"{kind}.onnx", [given])
                apart[kind] = max(apart[kind], _difference(found, expected))
            pieces = _split(given, plan, units[0])
            truths = zip(*(_split(each, plan, units[1]) for each in expected), strict=True)
            caches: list[torch.Tensor] = []
            for piece, truth in zip(pieces, truths, strict=True):
                part = f"{kind}_next" if caches else f"{kind}_first"
                if part not in parts:
                    break
                found = _run(Path(folder) / f"{part}.onnx", [piece, *caches])
                apart[part] = max(apart[part], _difference(found[: len(truth)], truth))
                caches = found[len(truth) :]
    return apart


@torch.no_grad()
def _truth(
    vae: AutoencoderKLSSVAE, kind: str, batch: int, frames: int, height: int, width: int
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[int, int]]:
    """An input of a coder, its outputs, and how many frames of both stand for a latent frame."""
    side, unit = vae.space_factor, vae.time_factor
    generator = torch.Generator().manual_seed(frames)
    if kind == "decoder":
        z = torch.randn(batch, vae.config["z_dim"], frames, height, width, generator=generator)
        return z, (vae.decode(z).sample,), (1, unit)
    size = 1 + (frames - 1) * unit, height * side, width * side
    x = torch.randn(batch, vae.config["in_channels"], *size, generator=generator)
    posterior = vae.encode(x).latent_dist
    return x, (posterior.mean, posterior.logvar), (unit, 1)


def _split(x_BCTHW: torch.Tensor, plan: Sequence[int], unit: int) -> tuple[torch.Tensor, ...]:
    """The first frame, then ``unit`` frames for each latent frame of the plan."""
    return x_BCTHW.split([n * unit if i else 1 for i, n in enumerate(plan)], 2)


def _run(file: Path, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return [torch.from_numpy(y) for y in session.run(None, given)]


def _difference(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        for a, b in zip(found, expected, strict=True)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of operators that are not there and of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _needed() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"exporting needs {error.name}: pip install 'ssvae[onnx]' brings it"
        ) from error
