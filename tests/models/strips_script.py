"""Several processes share clips, each compared with itself alone; see test_strips.py."""

import sys

import torch
import torch.distributed as dist

from small_models import SHAPES, make
from ssvae import AutoencoderKLSSVAE
from ssvae.models.blocks import CausalConv3d


def through(vae: AutoencoderKLSSVAE, x: torch.Tensor) -> list[torch.Tensor]:
    """Moments and clips, in one call and streamed in pieces of odd lengths."""
    moments = vae.encode(x).latent_dist.parameters
    z = moments.chunk(2, 1)[0]
    streamed = torch.cat([p.parameters for p in vae.encode_stream(x.split(3, 2))], 2)
    clips = torch.cat(list(vae.decode_stream(z.split(2, 2))), 2)
    return [moments, vae.decode(z).sample, streamed, clips]


def alone(vae: AutoencoderKLSSVAE, x: torch.Tensor) -> list[torch.Tensor]:
    """What the first process makes by itself, on all of them."""
    made = [through(vae, x) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(made)
    assert made[0] is not None
    return made[0]


def sent_for(vae: AutoencoderKLSSVAE, x: torch.Tensor) -> int:
    """Bytes that the rows around this process's strips make, counted at each convolution."""
    lower = dist.get_rank() + 1 < dist.get_world_size()
    sent, hooks = 0, []

    def count(conv: CausalConv3d, inputs: tuple, output: object) -> None:
        nonlocal sent
        rows = lower * conv.space_padding  # down
        rows += (dist.get_rank() > 0) * (conv.space_padding + conv.border)  # up
        sent += rows * inputs[0][:, :, :, :1].numel() * 4

    for module in vae.encoder.modules():
        if type(module) is CausalConv3d:
            hooks.append(module.register_forward_hook(count))
    vae.encode(x)
    for hook in hooks:
        hook.remove()
    return sent


def main() -> None:
    dist.init_process_group("gloo")
    count = dist.get_world_size()
    for shape in SHAPES:
        vae = make(shape)
        side = vae.space_factor
        for rows, width, batch, groups in (
            (count, 2, 2, 0),
            (7, 3, 1, 3),
            (4 * count + 1, 2, 2, 2),
        ):
            x = torch.randn(
                batch, 3, 1 + groups * vae.time_factor, rows * side, width * side,
                generator=torch.Generator().manual_seed(rows),
            )  # fmt: skip
            whole = alone(vae, x)
            vae.parallelize()
            shared = through(vae, x)
            vae.disable_parallel()
            for a, b in zip(whole, shared, strict=True):
                torch.testing.assert_close(b, a, atol=1e-6, rtol=1e-6)

    vae = make(dict(attention=True))
    x = torch.randn(1, 3, 9, 48 * vae.space_factor, 8 * vae.space_factor)
    dist.broadcast(x, 0)
    vae.enable_tiling()  # each tile is shared
    whole = vae(x).sample
    vae.parallelize()
    torch.testing.assert_close(vae(x).sample, whole, atol=1e-6, rtol=1e-6)
    vae.disable_tiling()

    half = make({}).to(torch.bfloat16)
    narrow = x[..., : 2 * half.space_factor].bfloat16()
    whole = half(narrow).sample
    half.parallelize()
    torch.testing.assert_close(half(narrow).sample, whole, atol=0.02, rtol=0.02)

    plain = make(dict(space_factors=(2, 1), time_factors=(2, 2)))
    plain.parallelize()
    assert plain.encoder.strips is not None
    counted = sent_for(plain, x)
    assert counted > 0
    before = plain.encoder.strips.sent
    moments = plain.encode(x).latent_dist.parameters
    gathered = moments[:, :, :, : -(-moments.shape[3] // count)].nbytes * (count - 1)
    assert plain.encoder.strips.sent - before == counted + gathered

    pair = dist.new_group([0, 1])
    if dist.get_rank() < 2:
        whole = make({})(x).sample
        vae = make({})
        vae.parallelize(pair)
        torch.testing.assert_close(vae(x).sample, whole, atol=1e-6, rtol=1e-6)
    for wrong in (
        lambda: vae.encode(x[:, :, :, : vae.space_factor]),
        lambda: with_gradients(vae, x),
    ):
        try:
            wrong()
        except ValueError as error:
            sys.stdout.write(f"{error}\n")
        else:
            raise AssertionError("not refused")
    dist.barrier()


@torch.enable_grad()
def with_gradients(vae: AutoencoderKLSSVAE, x: torch.Tensor) -> None:
    vae.encode(x)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        main()
    sys.stdout.flush()
    dist.destroy_process_group()
