"""The published model's own numbers; the files are described in the README beside them."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from ssvae import AutoencoderKLSSVAE
from ssvae.models.official import infer_config, load_official, official_names, save_official
from ssvae.regularizers import LatentMasking, local_correlation

HERE = Path(__file__).parent
CHECKPOINT = HERE / "official_small.ckpt"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(HERE / "official_small_golden.safetensors")


@pytest.mark.parametrize("name", ["video", "image", "long"])
def test_moments_and_decodings(golden, name):
    vae, _ = load_official(CHECKPOINT)
    with torch.no_grad():
        posterior = vae.encode(golden[f"{name}.input"]).latent_dist
        decoded = vae.decode(posterior.mode()).sample
    assert (posterior.parameters - golden[f"{name}.moments"]).abs().max() < 1e-4
    assert (decoded - golden[f"{name}.decoded"]).abs().max() < 1e-4


def test_local_correlation(golden):
    mean = golden["lcr.posterior_mean"]
    result = local_correlation(mean)
    assert result.first_frame is not None
    assert result.rest is not None
    torch.testing.assert_close(result.first_frame, golden["lcr.first_frame"], atol=1e-6, rtol=0)
    torch.testing.assert_close(result.rest, golden["lcr.video"], atol=1e-6, rtol=0)
    torch.testing.assert_close(result.average, golden["lcr.average"], atol=1e-6, rtol=0)
    alone = local_correlation(mean[:, :, :1])
    assert alone.rest is None
    torch.testing.assert_close(alone.average, golden["lcr.image_only"], atol=1e-6, rtol=0)


def test_every_published_key_and_shape():
    published = {
        k: tuple(v) for k, v in json.loads((HERE / "official_keys.json").read_text()).items()
    }
    with torch.device("meta"):
        vae = AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4")
        masking = LatentMasking(48)
    ours = {k: tuple(vae.get_parameter(v).shape) for k, v in official_names(vae).items()}
    assert ours | {"mask_token": tuple(masking.token.shape)} == published
    assert sum(p.numel() for p in vae.parameters()) == pytest.approx(315.2e6, rel=1e-3)
    with torch.device("meta"):
        tensors = {k: torch.empty(shape) for k, shape in published.items()}
    assert vars(infer_config(tensors)) == {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in vae.config.items()
        if k in vars(infer_config(tensors))
    }


def test_token_and_left_out_keys(caplog):
    state = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    with caplog.at_level("INFO", logger="ssvae"):
        vae, masking = load_official(CHECKPOINT)
    assert torch.equal(masking.token, state["mask_token"])
    assert "left out 1 tensors of loss" in caplog.text
    assert vae.config["z_dim"] == 8
    assert vae.config["scale_factor_spatial"] == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.conv_in.conv.bias"), "missing decoder.conv_in.conv.bias"),
        (lambda s: s.pop("mask_token"), "missing mask_token"),
        (lambda s: s.update({"encoder.extra": torch.zeros(1)}), "unknown encoder.extra"),
        (
            lambda s: s.update({"encoder.mid.1.norm.gamma": torch.zeros(3, 1, 1)}),
            r"encoder.mid.1.norm.gamma is \(3, 1, 1\), expected \(32, 1, 1\)",
        ),
    ],
)
def test_strictness(tmp_path, change, message):
    checkpoint = torch.load(CHECKPOINT, weights_only=True)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=message):
        load_official(tmp_path / "bad.ckpt")


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        load_official(tmp_path / "absent.ckpt")
    (tmp_path / "junk.ckpt").write_bytes(b"junk")
    with pytest.raises(ValueError, match="does not load as weights"):
        load_official(tmp_path / "junk.ckpt")
    torch.save({"weights": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="'state_dict'"):
        load_official(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"encoder.a": torch.zeros(1)}}, tmp_path / "alien.ckpt")
    with pytest.raises(ValueError, match="is it an SSVAE"):
        load_official(tmp_path / "alien.ckpt")


def test_there_and_back_every_tensor_is_the_same(tmp_path):
    vae, masking = load_official(CHECKPOINT)
    save_official(vae, masking, tmp_path / "back.ckpt")
    before = torch.load(CHECKPOINT, weights_only=True)["state_dict"]
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)
    assert back["global_step"] == 0
    assert set(before) - set(back["state_dict"]) == {"loss.logvar"}
    for name, tensor in back["state_dict"].items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name


def test_what_the_published_code_does_not_have(tmp_path):
    vae = AutoencoderKLSSVAE.from_preset("tiny")
    with pytest.raises(ValueError, match="patch_size 2, in the published code 1"):
        save_official(vae, LatentMasking(16), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="a folder that exists"):
        save_official(vae, LatentMasking(16), tmp_path / "none" / "a.ckpt")
    assert not list(tmp_path.iterdir())


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as it takes to list a repository and fetch a file."""

    repositories: ClassVar[dict[str, list[str]]] = {
        "zai-org/SSVAE": ["README.md", "last.ckpt"],
        "two/files": ["a.ckpt", "b.pt"],
    }

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.removeprefix("/api/models").strip("/")
        repository, name = "/".join(path.split("/")[:2]), path.rsplit("/", 1)[-1]
        files = self.repositories.get(repository)
        if files is None or ("/resolve/" in path and name not in files):
            self.send_error(404)
        elif "/resolve/" in path:
            self.answer(f"weights of {name}".encode())
        else:
            listing = [dict(type="file", path=f, size=9, oid="0", rfilename=f) for f in files]
            whole = dict(id=repository, sha="0" * 40, siblings=listing)
            self.answer(json.dumps(listing if "/tree/" in path else whole).encode())

    def answer(self, content: bytes):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{len(content)}-{self.path[-4:]}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format, *args):
        pass


FETCH = """
import sys
from ssvae.models.official import fetch_official

for name in sys.stdin:
    try:
        print(fetch_official(name.strip()).read_text(), flush=True)
    except ValueError as error:
        print(error, flush=True)
"""


def test_from_the_hub_and_without_a_network(tmp_path):
    """In a process of its own, for what the hub's address is is read when its library is
    imported.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = dict(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HOME=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | hub,
    )
    with process as fetching:
        assert fetching.stdin is not None
        assert fetching.stdout is not None

        def told_of(name: str) -> str:
            print(name, file=fetching.stdin, flush=True)
            return fetching.stdout.readline().rstrip("\n")

        try:
            assert told_of("zai-org/SSVAE") == "weights of last.ckpt"
            several = told_of("two/files")
            assert "must hold one checkpoint" in several
            assert "it holds a.ckpt, b.pt" in several
            assert told_of("two/files/b.pt") == "weights of b.pt"
            assert "the hub does not give it" in told_of("no/such")
            assert "give a file or a hub id" in told_of("/no/such/file.ckpt")
        finally:
            server.shutdown()
            server.server_close()
        alone = told_of("zai-org/other")
    assert alone.startswith("no file zai-org/other, and the hub does not give it: ")
