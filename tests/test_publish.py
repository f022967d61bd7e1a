"""Models to a hub: a stand-in of its API on this machine, from which they are read back."""

import base64
import hashlib
import http.server
import json
import subprocess
import sys
import threading

import pytest
import yaml

from commands import TINY, status_and_output

READ = """
import sys
import torch
from ssvae.models import open_vae
one, other = open_vae(sys.argv[1]), open_vae(sys.argv[2])
clips = torch.rand(1, 3, 9, 16, 16) * 2 - 1
assert torch.equal(one.encode(clips).mean, other.encode(clips).mean)
print("the same")
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a client asks for: repositories, commits of whole files, downloads."""

    files: dict[str, bytes]
    asked: list[str]

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path)
        if self.path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            whole = [dict(path=p, uploadMode="regular", shouldIgnore=False) for p in paths]
            self.answer({"files": whole})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[line["value"]["path"]] = content
            url = f"http://{self.headers['Host']}/me/mine/commit/{'0' * 40}"
            self.answer(dict(commitUrl=url, commitOid="0" * 40, success=True))
        elif self.path == "/api/repos/create":
            self.asked.append(body.decode())
            self.answer({"url": f"http://{self.headers['Host']}/me/mine"})
        else:
            self.answer({})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name:
            content = self.files.get(name)
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            content = content or b""
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
            return
        siblings = [{"rfilename": name} for name in self.files]
        self.answer(dict(id="me/mine", sha="0" * 40, siblings=siblings, private=True, tags=[]))

    def answer(self, content, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("pushed")
    words = ["train", "tiny", *TINY, "--warmup-steps", 1, "--steps", 2, "--out", "run"]
    status, said = status_and_output(*words, "--tracker", "none", folder=folder)
    assert status == 0, said
    return folder


def test_a_dry_run_is_all_that_would_be_sent(trained):
    words = ["push", "run", "me/mine", "--dry-run", "--out", "there", "--license", "mit"]
    size = ["--videos", "world", "--clips", 4, "--frames", 9, "--size", 16, 16]
    status, said = status_and_output(*words, *size, folder=trained)
    assert status == 0, said
    assert "nothing was sent" in said
    there = trained / "there"
    names = {path.name for path in there.iterdir()}
    expected = {"config.json", "README.md", "training.json", "sha256.json", "masking.safetensors"}
    assert expected | {"diffusion_pytorch_model.safetensors"} == names
    card = (there / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["library_name"], head["license"]) == ("ssvae", "mit")
    assert 'open_vae("me/mine")' in card
    assert "4 clips of 9 frames of 16x16" in card
    assert "| me/mine |" in card
    for name, sha256 in json.loads((there / "sha256.json").read_text()).items():
        assert hashlib.sha256((there / name).read_bytes()).hexdigest() == sha256
        assert f"{sha256}  {name}" in card
    assert json.loads((there / "training.json").read_text())["steps"] == 2
    for path in there.glob("*.*"):  # nor where it was
        assert str(trained).encode() not in path.read_bytes(), path
    # Nobody's folder is written over.
    status, said = status_and_output(*words, folder=trained)
    assert status == 2
    assert "not empty" in said


def test_a_diffusion_model_goes_as_a_pipeline(tmp_path):
    words = ["push", "world-t2v", "me/mine", "--dry-run", "--out", "there"]
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    assert (tmp_path / "there" / "model_index.json").is_file()
    for path in (tmp_path / "there").rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path
    card = (tmp_path / "there" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert (head["library_name"], head["pipeline_tag"]) == ("diffusers", "text-to-video")
    assert 'WanPipeline.from_pretrained("me/mine")' in card


def test_what_is_pushed_is_read_back(trained, tmp_path):
    class Ours(Hub):
        files, asked = {}, []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ours) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        around = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_x", "HF_HOME": str(tmp_path)}
        around |= {"HF_HUB_DISABLE_XET": "1", "PATH": "/usr/bin:/bin"}

        def said(*words: str, status: int = 0) -> str:
            done = subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, env=around, cwd=trained
            )
            assert done.returncode == status, done.stdout + done.stderr
            return done.stdout + done.stderr

        assert "(private)" in said("-m", "ssvae", "push", "run", "me/mine")
        wish = json.loads(Ours.asked[1])
        assert wish.get("visibility") == "private" or wish.get("private") is True
        assert "the same" in said("-c", READ, "run", "me/mine@main")
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nothing", "me/mine"], "no model at nothing"),
        (["tiny", "mine"], "a repository is named OWNER/NAME, got mine"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, words, reason):
    status, said = status_and_output("push", *words, "--dry-run", folder=tmp_path)
    assert status == 2
    assert reason in " ".join(said.split())
