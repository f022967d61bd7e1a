"""How near decoding in tiles is to decoding the whole frame, in dB PSNR, on 17 frames of a video.

python benchmarks/tiling.py MODEL VIDEO [--size 480 640] [--tiles 256 128 64]
"""

import argparse

import torch

from ssvae.analysis import psnr
from ssvae.data import read_clip
from ssvae.models.finding import load_vae


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("video")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640))
    parser.add_argument("--tiles", type=int, nargs="+", default=(256, 128, 64))
    options = parser.parse_args()

    vae = load_vae(options.model)
    size = options.size[0], options.size[1]
    with torch.no_grad():
        z = vae.encode(read_clip(options.video, 17, size=size)[None]).latent_dist.mean
        whole = vae.decode(z).sample
        for tile in options.tiles:
            vae.enable_tiling(tile, tile)
            tiled = vae.decode(z).sample
            print(f"tiles of {tile}: {psnr(tiled, whole).item():.1f} dB")


if __name__ == "__main__":
    main()
