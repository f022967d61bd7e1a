import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import status_of_code
from small_models import SHAPES, make
from ssvae.models.plain import plain_decode, plain_encode
from ssvae.models.streaming import recut

MODELS = [make(shape) for shape in SHAPES]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def cut(x: torch.Tensor, plan: list[int]) -> list[torch.Tensor]:
    """Chunks of the lengths of ``plan``, again and again until the clip ends."""
    chunks, done = [], 0
    while done < x.shape[2]:
        length = plan[len(chunks) % len(plan)]
        chunks.append(x[:, :, done : done + length])
        done += length
    return chunks


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    groups=st.integers(0, 5),
    batch=st.integers(1, 2),
    plan=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    slicing=st.booleans(),
)
def test_any_plan_gives_what_the_whole_clip_gives(model, groups, batch, plan, slicing):
    torch.manual_seed(groups)
    x = torch.randn(batch, 3, 1 + groups * model.time_factor, 16, 8)
    model.use_slicing = slicing
    with torch.no_grad():
        whole = plain_encode(model, x)
        posteriors = list(model.encode_stream(iter(cut(x, plan))))
        close(torch.cat([p.parameters for p in posteriors], 2), whole)
        close(torch.cat([p.mean for p in posteriors], 2), whole.chunk(2, 1)[0])
        z = whole.chunk(2, 1)[0]
        clips = torch.cat(list(model.decode_stream(cut(z, plan))), 2)
        close(clips, plain_decode(model, z))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1), unit=st.integers(1, 4), n=st.integers(1, 3))
def test_recut(lengths, unit, n):
    x = torch.arange(sum(lengths)).view(1, 1, -1, 1, 1)
    pieces = list(recut(x.split(lengths, 2), unit, unit * n))
    assert torch.equal(torch.cat(pieces, 2), x)
    sizes = [p.shape[2] for p in pieces]
    assert sizes[0] == 1
    assert all(s % unit == 0 and s <= unit * n for s in sizes[1:-1])


def test_frames_come_as_soon_as_they_can():
    vae, asked = MODELS[0], []

    def frames():
        for i in range(13):
            asked.append(i)
            yield torch.zeros(1, 3, 1, 8, 8)

    with torch.no_grad():
        stream = vae.encode_stream(frames())
        assert next(stream).mean.shape[2] == 1
        assert len(asked) == 1
        next(stream)
        assert len(asked) == 5


@pytest.mark.parametrize("frames", [1, 2, 4, 6, 9])
def test_padding(frames):
    vae = MODELS[0]
    x = torch.randn(1, 3, frames, 8, 8)
    with torch.no_grad():
        z = vae.encode(x, pad=True).latent_dist.mean
        streamed = [p.mean for p in vae.encode_stream(x.split(3, 2), pad=True)]
        close(torch.cat(streamed, 2), z)
    if (frames - 1) % 4:
        with pytest.raises(ValueError, match=rf"4n \+ 1, got {frames}"):
            list(vae.encode_stream(x.split(3, 2)))


def test_what_is_no_stream():
    vae = MODELS[0]
    with pytest.raises(ValueError, match="at least one chunk"):
        next(vae.encode_stream([]))
    with pytest.raises(ValueError, match="multiples of 4"):
        next(vae.encode_stream([torch.zeros(1, 3, 1, 9, 8)]))
    with pytest.raises(ValueError, match="size of the first"):
        list(vae.encode_stream([torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 3, 4, 16, 8)]))
    with pytest.raises(ValueError, match=r"\(batch, 4, frames"):
        next(vae.decode_stream([torch.zeros(1, 3, 1, 8, 8)]))
    with pytest.raises(ValueError, match="multiple of 4 frames at once, got 6"):
        vae.enable_streaming(6)


def test_plain_calls_stream_where_enabled():
    vae = make(dict())
    x = torch.randn(1, 3, 21, 8, 8)
    expected = plain_encode(vae, x)
    vae.enable_streaming(8)
    lengths = []
    hook = vae.encoder.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[2]))
    with torch.no_grad():
        close(vae.encode(x).latent_dist.parameters, expected)
        z = expected.chunk(2, 1)[0]
        close(vae.decode(z, num_frames=18).sample, plain_decode(vae, z)[:, :, :18])
    assert lengths == [1, 8, 8, 4]
    hook.remove()


def test_gradients_through_a_stream_under_checkpointing():
    vae = make(dict(attention=True)).train()
    x = torch.randn(1, 3, 13, 8, 8)

    def gradients() -> list[torch.Tensor]:
        vae.zero_grad()
        vae(x).sample.square().mean().backward()
        return [p.grad.clone() for p in vae.parameters() if p.grad is not None]

    plain = gradients()
    vae.enable_streaming(4)
    vae.enable_gradient_checkpointing()
    streamed = gradients()
    assert len(streamed) == len(plain) > 0
    for a, b in zip(plain, streamed, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-3)


def test_a_stream_under_autocast():
    vae = make(dict(attention=True))
    x = torch.randn(1, 3, 9, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole = vae.encoder(x)[0]
        streamed = torch.cat([p.parameters for p in vae.encode_stream(x.split(2, 2))], 2)
        clips = torch.cat(list(vae.decode_stream(whole.chunk(2, 1)[0].split(1, 2))), 2)
    exact = plain_encode(vae, x)
    assert whole.dtype == streamed.dtype == clips.dtype == torch.bfloat16
    for half in (whole, streamed):
        assert (half - exact).norm() < 0.05 * exact.norm()


def test_a_copied_cache_is_a_point_to_return_to():
    vae = MODELS[0]
    z = torch.randn(1, 4, 3, 4, 4)
    with torch.no_grad():
        _, cache = vae.decoder(z[:, :, :1], ())
        here = list(cache)
        first, _ = vae.decoder(z[:, :, 1:2], cache)
        vae.decoder(z[:, :, 2:3], cache)
        again, _ = vae.decoder(z[:, :, 1:2], here)
    assert torch.equal(first, again)


@pytest.mark.slow
def test_coders_with_a_cache_compile():
    vae = make(dict(attention=True))
    x, z = torch.randn(1, 3, 9, 8, 8), torch.randn(1, 4, 3, 4, 4)
    for coder, clip, unit in ((vae.encoder, x, 4), (vae.decoder, z, 1)):
        torch.compiler.reset()
        compiled = torch.compile(coder, fullgraph=True, backend="aot_eager")
        with torch.no_grad():
            outputs, cache = [], ()
            for piece in recut([clip], unit, unit):
                y, cache = compiled(piece, cache)
                outputs.append(y)
            close(torch.cat(outputs, 2), coder(clip)[0])


GROWTH = """
import sys, torch
from ssvae import AutoencoderKLSSVAE

vae = AutoencoderKLSSVAE.from_preset("tiny").eval()

def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024

def run(frames):
    chunks = (torch.zeros(1, 3, 1, 96, 96) for _ in range(frames))
    latents = (p.mean for p in vae.encode_stream(chunks))
    for clip in vae.decode_stream(latents):
        del clip

torch.set_grad_enabled(False)
for frames in (17, 513):
    run(frames)
    print(peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_length(tmp_path):
    status, said = status_of_code(GROWTH, tmp_path)
    assert status == 0, said
    short, long = map(float, said.split())
    assert long < 1.05 * short


def test_a_stream_of_one_number_format(vae):
    chunks = [torch.zeros(1, 3, 1, 16, 16), torch.zeros(1, 3, 4, 16, 16, dtype=torch.float64)]
    with pytest.raises(ValueError, match=r"of the first, torch.float32, got torch.float64: conv"):
        list(vae.encode_stream(chunks))
    with pytest.raises(ValueError, match="latents must hold floating-point numbers, got torch.int"):
        vae.decode(torch.zeros(1, 4, 1, 4, 4, dtype=torch.int64))
