"""Against an endpoint on loopback that answers as vLLM does; and fails, stalls and talks
rubbish.
"""

import base64
import io
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import av
import pytest

from commands import started, wait_until
from made_videos import write
from ssvae.evaluation.judge import SCALES, Film, Judge, evaluate_with_judge, frames_of, parse_marks

ANSWER = """visual quality: 3
temporal consistency: 4
dynamic degree: 2
text-to-video alignment: 1
factual consistency: 3
Final Score: 6
"""


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict] = []
        self.replies: list = []
        """What to answer first: a status, a text, or seconds to wait; then ANSWER."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        reply = self.server.replies.pop(0) if self.server.replies else ANSWER
        if isinstance(reply, float):
            time.sleep(reply)
            reply = ANSWER
        if isinstance(reply, int):
            return self.send(reply, {"error": {"message": "no", "type": "x", "code": reply}})
        if isinstance(reply, bytes):
            return self.send(200, reply)
        message = {"role": "assistant", "content": reply}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": body["model"]}
        return self.send(200, answer | {"choices": [choice], "usage": usage})

    def send(self, status, body):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 429:
            self.send_header("Retry-After", "0.1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def films(tmp_path):
    return [
        Film(write(tmp_path / f"{i}.mp4", 20 + i, 48, 64), f"film number {i}", f"film {i}")
        for i in range(3)
    ]


def judge(endpoint, tmp_path, **options):
    given = dict(retries=2, timeout=20.0, jobs=1) | options
    return Judge(endpoint.url, "unified-reward", tmp_path / "answers.jsonl", **given)


def test_what_is_asked_and_answered(endpoint, films, tmp_path):
    evaluation = evaluate_with_judge(judge(endpoint, tmp_path, jobs=3), films)
    assert len(endpoint.asked) == 3
    for body in endpoint.asked:
        assert body["model"] == "unified-reward"
        assert body["temperature"] == 0
        (message,) = body["messages"]
        *images, text = message["content"]
        assert len(images) == 16
        assert "film number" in text["text"]
        assert all(scale in text["text"] for scale in SCALES)
        content = base64.b64decode(images[0]["image_url"]["url"].split(",")[1])
        with av.open(io.BytesIO(content)) as picture:
            frame = next(picture.decode(video=0))
        assert (frame.width, frame.height) == (64, 48)
    assert evaluation.figures["mark"].value == pytest.approx(13 / 5)
    assert evaluation.figures["final score"].value == 6
    assert evaluation.clips["film 1"]["dynamic degree"] == 2
    assert evaluation.protocol.clips == 3
    assert "unified-reward, 16 frames" in evaluation.protocol.networks["mark"]


def test_answers_are_kept_and_a_run_goes_on(endpoint, films, tmp_path):
    first = evaluate_with_judge(judge(endpoint, tmp_path), films[:2])
    cache = tmp_path / "answers.jsonl"
    cache.write_text(cache.read_text() + '{"key": "half a li')  # killed while it wrote
    whole = evaluate_with_judge(judge(endpoint, tmp_path), films)
    assert len(endpoint.asked) == 3
    assert whole.clips["film 0"] == first.clips["film 0"]
    evaluate_with_judge(judge(endpoint, tmp_path), films)
    assert len(endpoint.asked) == 3
    evaluate_with_judge(judge(endpoint, tmp_path, prompt="Rate this: {prompt}"), films[:1])
    assert len(endpoint.asked) == 4  # another question


def test_it_tries_again(endpoint, films, tmp_path):
    endpoint.replies = [503, 429, "I rather like it.", "visual quality: 9", ANSWER]
    evaluation = evaluate_with_judge(judge(endpoint, tmp_path, retries=4), films[:1])
    assert evaluation.figures["mark"].value == pytest.approx(2.6)
    assert len(endpoint.asked) == 5


def test_rubbish_is_named(endpoint, films, tmp_path):
    endpoint.replies = ["No."] * 3 + [b"<html>"] * 3
    evaluation = evaluate_with_judge(judge(endpoint, tmp_path), films)
    assert evaluation.protocol.clips == 1
    assert "gave no marks in 3 answers, the last of them 'No.'" in evaluation.left_out["film 0"]
    assert "film 1" in evaluation.left_out
    endpoint.replies = ["No."] * 3
    with pytest.raises(ValueError, match="no video got marks"):
        evaluate_with_judge(judge(endpoint, tmp_path), [films[1]])


def test_an_endpoint_that_stalls(endpoint, films, tmp_path):
    endpoint.replies = [3.0] * 3
    slow = judge(endpoint, tmp_path, timeout=0.3, retries=0)
    with pytest.raises(ValueError, match="1 clips in a row got no answer.*timed out"):
        evaluate_with_judge(slow, films[:1])


def test_an_endpoint_that_refuses_or_is_not_there(endpoint, films, tmp_path):
    endpoint.replies = [401] * 20
    with pytest.raises(ValueError, match="refused: .*401"):
        evaluate_with_judge(judge(endpoint, tmp_path), films)
    gone = Judge("http://127.0.0.1:9/v1", "x", tmp_path / "a.jsonl", retries=0, timeout=2.0)
    with pytest.raises(ValueError, match=r"no answer from http://127.0.0.1:9/v1"):
        evaluate_with_judge(gone, films)


def test_no_more_requests_than_allowed(endpoint, films, tmp_path, monkeypatch):
    """At 200 a minute each waits until .3 seconds after the one before, by a clock that stands."""
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=waits.append)
    monkeypatch.setattr("ssvae.evaluation.judge.time", clock)
    evaluate_with_judge(judge(endpoint, tmp_path, per_minute=200.0, jobs=3), films)
    assert sorted(waits) == pytest.approx([0, 0.3, 0.6])
    waits.clear()
    endpoint.replies = ["rubbish", "rubbish"]  # what is asked again keeps to it too
    evaluate_with_judge(judge(endpoint, tmp_path, per_minute=200.0, prompt="{prompt}"), films[:1])
    assert waits == pytest.approx([0, 0.3, 0.6])


def test_a_broken_file_is_named(endpoint, films, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    bad = Film(tmp_path / "bad.mp4", "nothing", "bad")
    evaluation = evaluate_with_judge(judge(endpoint, tmp_path), [bad, *films])
    assert "unreadable" in evaluation.left_out["bad"]
    assert evaluation.protocol.clips == 3


def test_frames_at_equal_distances_made_smaller(tmp_path):
    file = write(tmp_path / "a.mp4", 33, 60, 80)
    frames = frames_of(file, 5, 40)
    assert [f.shape for f in frames] == [(30, 40, 3)] * 5
    greys = [round(float(f[4:11, 4:16].mean()) / 5) for f in frames]
    assert greys == [0, 8, 16, 24, 32]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (ANSWER, 3),
        (ANSWER.upper().replace(": ", " : "), 3),
        ("**Visual Quality**: 2\n" + ANSWER.split("\n", 1)[1], 2),
        (json.dumps(dict.fromkeys(SCALES, 4)), 4),
        (ANSWER.replace("quality: 3", "quality: 2.5"), 2.5),
        (ANSWER.replace("quality: 3", "quality: 0"), None),
        (ANSWER.replace("dynamic degree: 2\n", ""), None),
        ("", None),
    ],
)
def test_marks(text, first):
    marks = parse_marks(text)
    assert (marks["visual quality"] if marks else None) == first


def test_settings_that_do_not_fit(endpoint, tmp_path):
    with pytest.raises(ValueError, match=r"must hold \{prompt\}"):
        judge(endpoint, tmp_path, prompt="Rate this.")
    with pytest.raises(ValueError, match="an endpoint is a URL"):
        Judge("localhost:8000", "x", tmp_path / "a.jsonl")
    for wrong in (dict(jobs=0), dict(per_minute=0), dict(per_minute=-1), dict(retries=-1)):
        with pytest.raises(ValueError, match="over 0"):
            judge(endpoint, tmp_path, **wrong)


def test_an_interrupted_command_ends_at_once(endpoint, films, tmp_path):
    """And what was answered is there: it may have been paid for."""
    endpoint.replies = [ANSWER, 300.0, 300.0]
    listed = tmp_path / "films.csv"
    listed.write_text("path,caption\n" + "".join(f"{f.file},{f.prompt}\n" for f in films))
    out = tmp_path / "reward.json"
    options = ["--endpoint", endpoint.url, "--judge", "j", "--out", str(out), "--jobs", "2"]
    command = ["evaluate", "judge", "--videos", listed, *options]
    process, output = started(*command, folder=tmp_path)
    cache = tmp_path / "reward.answers.jsonl"
    wait_until(lambda: len(endpoint.asked) == 3 and cache.exists(), process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    said = output.read_text()
    assert process.exitcode == 130
    assert "\ninterrupted" in f"\n{said}"
    assert "Traceback" not in said
    assert len(cache.read_text().splitlines()) == 1
    assert not out.exists()
