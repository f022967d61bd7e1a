"""What ten million clips of 17x256x256 cost to encode, keep, read and learn: arithmetic, and a
simulation of what of it depends on this code.

    python benchmarks/ten_million.py [--clips 10000000] [--out results/ten-million]

Operations and bytes of the models are those of ``benchmarks/gpu_counted.py``, counted without a
GPU. The rest is made small here and held against the formula: a cache is written, shards are read
through a web server that counts requests, an index and orders of the whole number are opened, and
clips are decoded.
"""

import argparse
import http.server
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file

from ssvae.bench.provenance import provenance
from ssvae.data import World, open_source, write_video
from ssvae.data.listing import find_media
from ssvae.data.shard_writer import copy_file, write_shards
from ssvae.latents import CacheConfig, write_cache
from ssvae.latents.cache import CHECKSUM, FORMAT
from ssvae.models import load_vae
from ssvae.models.backbones import Backbone
from ssvae.report.tables import markdown
from ssvae.storage.digests import checksum
from ssvae.storage.distant import PART
from ssvae.training import make_accelerator

COUNTED = Path(__file__).parents[1] / "results" / "gpu-counted" / "results.json"
LATENT = 48, 5, 16, 16
SIZE = 17, 256, 256
IN_A_SHARD = 4096
BESIDE = 5
"""Requests of a shard beside its content: of its fields, and of sizes."""
TEXT = 40 * 4096 * 2
"""Bytes of an embedded caption, in bfloat16."""
UTILISED = 0.4
"""Of an H100's 989 TFLOP/s: what well-kept training code reaches, and no figure of ours."""
PEAK = 989e12
FILM_BYTES = 300e3
"""A clip's film, of two seconds and 256 lines at a megabit a second."""
EPOCHS = 10
CAPTION = "a red disc moving left over coarse waves in the evening light, seen from above"


def arithmetic(clips: int, counted: dict) -> list[list[str]]:
    """Rows of what, how much, and how it comes about."""
    values, rate = math.prod(LATENT), UTILISED * PEAK
    encode = counted["as written"]["encode"]["tflop"] * 1e12
    learn = counted["as written"]["dit-small"]["tflop"] * 1e12 / 64  # counted of 64 latents
    films, tar = clips * FILM_BYTES, 10_000
    shard, default = -(-clips // IN_A_SHARD), -(-clips // 256)
    parts = f"a GET for each {PART >> 20} MB, {BESIDE} more a shard of {tar:,}"
    encodes, learns = rate / encode, rate / learn
    return [
        ["films in the bucket", f"{films / 1e12:.1f} TB", f"{FILM_BYTES / 1e3:.0f} KB each"],
        ["requests, single films", f"{clips * 1.001:,.0f}", "a GET each, a LIST a thousand"],
        ["requests, shards", f"{films / PART + BESIDE * clips / tar:,.0f}", parts],
        ["latents, float32", f"{clips * values * 4 / 1e12:.2f} TB", f"{values:,} values a clip"],
        ["latents, bfloat16", f"{clips * values * 2 / 1e12:.2f} TB", "`--storage bfloat16`"],
        ["files of latents", f"{shard:,}", f"`--shard-clips {IN_A_SHARD}`; {default:,} by default"],
        [
            "embeddings of captions",
            f"{clips * TEXT / 1e12:.1f} TB",
            "40 tokens of 4,096 (umt5-xxl)",
        ],
        [
            "encoding",
            f"{clips / encodes / 3600:,.0f} GPU hours",
            f"{encode / 1e12:.1f} TFLOP a clip",
        ],
        ["a GPU encodes", f"{encodes:.0f} clips/s", f"of {encodes * FILM_BYTES / 1e6:.0f} MB/s"],
        [
            f"dit-small, {EPOCHS} epochs",
            f"{EPOCHS * clips / learns / 3600:,.0f} GPU hours",
            f"{learn / 1e12:.2f} TFLOP a clip, of latents of 16x5x16x16",
        ],
        ["a GPU learns", f"{learns:,.0f} clips/s", f"of {learns * values * 2 / 1e6:.0f} MB/s"],
    ]


class Counting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with parts, and counts."""

    requests: ClassVar = Counter[str]()
    sent: ClassVar = 0

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        Counting.requests["GET"] += 1
        if not path.is_file():
            self.send_error(404)
            return
        size, asked = path.stat().st_size, self.headers.get("Range")
        begin, end = 0, size - 1
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(first), min(int(last or size - 1), size - 1)
        with path.open("rb") as file:
            file.seek(begin)
            content = file.read(end - begin + 1)
        Counting.sent += len(content)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        Counting.requests["HEAD"] += 1
        super().do_HEAD()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = partial(Counting, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def of_shards(folder: Path) -> dict[str, float]:
    """Requests and bytes of an epoch over shards, for one process."""
    (folder / "films").mkdir()
    world = World(17, 256, 256)
    for i in range(64):
        write_video(folder / "films" / f"{i:02d}.mp4", world.batch([i]).on()[0], fps=8)
        (folder / "films" / f"{i:02d}.txt").write_text(CAPTION)
    source = list((folder / "films").glob("*.mp4"))
    write_shards(find_media(folder / "films"), copy_file, folder / "shards", per_shard=16)
    shards = sorted((folder / "shards").glob("*.tar"))
    with served(folder / "shards") as url:
        reader = open_source(f"{url}/{{000000..{len(shards) - 1:06d}}}.tar", *SIZE)
        began = time.process_time()
        for i in range(len(source)):
            reader.batch([i])
        decoding = time.process_time() - began
    sizes = [path.stat().st_size for path in shards]
    return {
        "shards": len(shards),
        "bytes": sum(sizes),
        "sent": Counting.sent,
        "requests": Counting.requests.total(),
        "formula": sum(-(-size // PART) for size in sizes) + BESIDE * len(shards),
        "clips_a_second_and_core": len(source) / decoding,
    }


def of_a_cache(folder: Path) -> dict[str, float]:
    """Bytes a clip, on disk over the formula's."""
    torch.manual_seed(0)
    backbone = Backbone(load_vae("tiny").eval())
    config = CacheConfig("tiny", "world", 256, 17, 64, 64, shard_clips=128, storage="bfloat16")
    cache = write_cache(backbone, folder / "cache", config, make_accelerator("cpu"))
    written = sum(path.stat().st_size for path in (folder / "cache").glob("latents-*"))
    formula = 256 * math.prod(cache.shape) * 2
    return {"bytes": written, "formula": formula, "over": written / formula - 1}


ALONE = """
import json, sys, time
from ssvae.diffusion.order import BatchOrder
from ssvae.latents import LatentCache

def own_megabytes():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous")) / 1e3

before, began = own_megabytes(), time.perf_counter()
cache = LatentCache(sys.argv[1])
opened, order = time.perf_counter() - began, BatchOrder(0, [len(cache)], 16, 64)
began = time.perf_counter()
order.indices(0)
drawn, began = time.perf_counter() - began, time.perf_counter()
for number in range(200):
    own = order.indices(number, 5)
    cache.latents(own), cache.captions_of(own)
read = 200 * 16 / (time.perf_counter() - began)
figures = dict(open_seconds=opened, order_seconds=drawn, clips_a_second=read)
print(json.dumps(figures | dict(megabytes=own_megabytes() - before)))
"""


def of_the_index(folder: Path, clips: int) -> dict[str, float]:
    """A process's time and memory with an index of so many clips, whose latents are one number."""
    cache = folder / "index"
    cache.mkdir()
    shards, text = [], CAPTION.encode()
    for number in range(math.ceil(clips / IN_A_SHARD)):
        own = min(IN_A_SHARD, clips - number * IN_A_SHARD)
        path = cache / f"latents-{number:05d}.safetensors"
        save_file(
            {
                "latents": torch.zeros(own, 1, 1, 1, 1, dtype=torch.bfloat16),
                "captions": torch.frombuffer(bytearray(text * own), dtype=torch.uint8),
                "ends": torch.arange(1, own + 1) * len(text),
                "clips": torch.arange(own),
                "contents": torch.arange(own),
            },
            path,
        )
        shards.append({"file": path.name, "clips": own, "sha256": None})
    index = {
        "format": FORMAT,
        "config": {"vae": "none", "clips": clips, "shard_clips": IN_A_SHARD},
        "latent_shape": [1, 1, 1, 1],
        "shards": shards,
        "failed": [],
        "mean": [0.0],
        "covariance": [[1.0]],
    }
    (cache / "index.json").write_text(json.dumps(index | {CHECKSUM: checksum(index)}))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(cache)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the tables; write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    rows = arithmetic(words.clips, json.loads(COUNTED.read_text()))
    sys.stdout.write(markdown(["", f"{words.clips:,} clips", ""], rows) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = {
            "shards": of_shards(folder),
            "cache": of_a_cache(folder),
            "index": of_the_index(folder, words.clips),
        }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    if words.out is not None:
        words.out.mkdir(parents=True, exist_ok=True)
        results = {"clips": words.clips, "arithmetic": rows, **found, **provenance()}
        (words.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
