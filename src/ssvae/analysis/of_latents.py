"""The part of an analysis that needs latents alone: no VAE, no clips."""

from collections.abc import Iterable, Sequence

import torch

from ssvae.analysis.result import DEAD, Analysis, Model, Protocol, check_latents
from ssvae.analysis.robustness import keys_of
from ssvae.analysis.semantics import labels_of, semantics_of
from ssvae.data.batch import in_batches
from ssvae.data.vocabulary import Vocabulary
from ssvae.spectra.channels import ChannelSpectrum
from ssvae.spectra.correlation import CorrelationSample
from ssvae.spectra.frequency import FrequencySpectrum


@torch.no_grad()
def analyze_latents(
    latents: torch.Tensor | Iterable[torch.Tensor],
    lone_first_frame: bool = True,
    captions: Sequence[str] = (),
    vocabulary: Vocabulary | None = None,
    name: str = "latents",
) -> Analysis:
    """Analyse latents whose VAE or clips are not at hand: spectra, local correlation, statistics,
    and, where captions tell attributes, neighbours.

    Args:
        latents: batches (B, C, t, h, w), all of one size, read once; or one such tensor.
        lone_first_frame: whether the first latent frame stands for one frame of video, as in causal
            VAEs.
        captions: of the clips, in their order.
        vocabulary: what the captions can say.
        name: what is called the model's class in reports.

    Raises:
        ValueError: for no latents, or of several or too small sizes. Clips whose latents are not
            finite are left out, and named in ``broken``.
    """
    frequency, channels = FrequencySpectrum(dead=DEAD), ChannelSpectrum()
    correlation, known = CorrelationSample(), dict[int, str]()
    clips, seen, shape, broken = 0, 0, (), dict[str, str]()
    for batch in in_batches(latents):
        check_latents(tuple(batch.shape), name)
        if shape and tuple(batch.shape[1:]) != shape:
            raise ValueError(f"latents must be of one size, got {batch.shape[1:]} after {shape}")
        shape, own = tuple(batch.shape[1:]), captions[seen:][: len(batch)]
        finite = torch.isfinite(batch.flatten(1)).all(1)
        bad = (~finite).nonzero().flatten().tolist()
        broken |= {f"clip {seen + i}": "the latents" for i in bad}
        seen += len(batch)
        batch = batch[finite]
        if not len(batch):
            continue
        keys = keys_of(batch)
        known |= dict(
            zip(keys, (c for c, kept in zip(own, finite, strict=False) if kept), strict=False)
        )
        frequency.update(batch)
        channels.update(batch)
        correlation.update(batch, keys)
        clips += len(batch)
    if not clips:
        raise ValueError(f"an analysis needs latents of at least one clip, got {seen}, none finite")
    local = correlation.result(lone_first_frame)
    first, rest = local.first_frame, local.rest
    kept, sample = correlation.kept
    told = [i for i, key in enumerate(kept) if key in known]
    labels = labels_of([known[kept[i]] for i in told], vocabulary)
    return Analysis(
        model=Model(name, 0, None, None, lone_first_frame),
        protocol=Protocol(clips, None, None, None, None, shape),
        frequency=frequency.result(),
        channels=channels.result(),
        local_correlation=float(local.average),
        local_correlation_first_frame=None if first is None else float(first),
        local_correlation_rest=None if rest is None else float(rest),
        robustness={},
        fidelity=None,
        broken=broken,
        semantics=None if labels is None else semantics_of(sample[told], labels),
    )
