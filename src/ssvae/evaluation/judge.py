"""Video reward from a vision-language model behind an OpenAI-compatible endpoint.

UnifiedReward (arXiv 2503.05236) served by vLLM is the case in mind: it looks at frames of a
generated video and gives a mark on each of five scales.
"""

import base64
import hashlib
import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.image import imsave

from ssvae.data.opened import VideoError, VideoFile
from ssvae.data.pixels import to_clip, to_images, to_show
from ssvae.data.video import probe, read_frames
from ssvae.evaluation.result import Evaluation, EvaluationProtocol, checksum_of_all
from ssvae.statistics.intervals import mean_interval

logger = logging.getLogger(__name__)

SCALES = (
    "visual quality",
    "temporal consistency",
    "dynamic degree",
    "text-to-video alignment",
    "factual consistency",
)
HIGHEST = 4  # mark on a scale; the lowest is 1
# The scales, marks and form of answer are UnifiedReward's; the words are ours (--prompt takes its
# own).
PROMPT = """These are frames, in order, of a video that a model generated for the text below. \
Rate the video on five scales, each with a whole number from 1 (bad) to 4 (as good as a real video):
- visual quality: is it sharp, well lit and free of artefacts?
- temporal consistency: do people and things stay themselves from frame to frame?
- dynamic degree: how much moves and changes?
- text-to-video alignment: does it show what the text asks for?
- factual consistency: does it agree with common sense and with how the world works?
Then give an overall mark from 1 to 10. Answer in exactly these lines, with your numbers:
visual quality: N
temporal consistency: N
dynamic degree: N
text-to-video alignment: N
factual consistency: N
Final Score: N

Text: [{prompt}]"""
PATIENCE = 5  # clips in a row that got no answer at all, after which the endpoint counts as dead


@dataclass(frozen=True)
class Film:
    """A video file, what it was generated for, and a name."""

    file: VideoFile
    prompt: str
    name: str


@dataclass
class Judge:
    """Asks an endpoint for marks, at a limited rate, and keeps every answer in a file.

    What is in the file is not asked again, so that a run that was stopped goes on.
    """

    endpoint: str
    """Such as http://localhost:8000/v1."""
    model: str
    cache: Path
    """A file of answers, .jsonl; answers are added to it."""
    key: str = "none"
    """API key, where the endpoint wants one."""
    prompt: str = PROMPT
    """With {prompt} where the clip's text goes."""
    frames: int = 16
    side: int = 512
    """Frames larger than this are made smaller."""
    per_minute: float | None = None
    """Requests a minute, at most; those that openai repeats after a failure come beside."""
    retries: int = 5
    """Of a request that fails or is put off, by openai with growing pauses; and of one that gives
    an answer without marks."""
    timeout: float = 120.0
    """Seconds for an answer."""
    jobs: int = 4
    """Requests at the same time."""
    answers: dict[str, dict[str, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ValueError(
                "video reward needs the package openai, which is not installed: pip install "
                "'ssvae[reward]'"
            ) from error
        if "{prompt}" not in self.prompt:
            raise ValueError("a judge's prompt must hold {prompt}, where the clip's text goes")
        if not re.match(r"https?://", self.endpoint):
            raise ValueError(
                f"an endpoint is a URL such as http://host:8000/v1, got {self.endpoint}"
            )
        positive = [self.frames, self.side, self.jobs, self.timeout]
        if min(positive) <= 0 or self.retries < 0 or (self.per_minute or 1) < 0:
            raise ValueError(
                "frames, side, jobs, timeout and per-minute must be over 0, and retries not under "
                "it"
            )
        if self.per_minute == 0:
            raise ValueError("per-minute must be over 0, or left out for no limit")
        self._client = OpenAI(
            base_url=self.endpoint,
            api_key=self.key,
            timeout=self.timeout,
            max_retries=self.retries,  # with growing pauses, or as long as the endpoint tells
        )
        self._lock, self._next = threading.Lock(), 0.0
        self.answers = _read_cache(self.cache)

    @property
    def described(self) -> str:
        """For a protocol."""
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()
        return (
            f"{self.model}, {self.frames} frames at equal distances of at most {self.side} pixels, "
            f"marks from 1 to {HIGHEST}, prompt sha256 {digest}"
        )

    def marks(self, film: Film) -> dict[str, float]:
        """The marks of a video on each scale.

        Raises:
            VideoError: where the file cannot be read.
            ValueError: where the endpoint gives no marks, however often it is asked.
        """
        images = [_jpeg(image) for image in frames_of(film.file, self.frames, self.side)]
        text = self.prompt.replace("{prompt}", film.prompt)
        asked = hashlib.sha256(f"{self.model}\0{text}\0".encode())
        for image in images:
            asked.update(image)
        key = asked.hexdigest()
        with self._lock:
            if key in self.answers:
                return self.answers[key]
        content: list[Any] = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
            for encoded in (base64.b64encode(image).decode() for image in images)
        ]
        answer = self._ask([*content, {"type": "text", "text": text}])
        with self._lock:
            self.answers[key] = answer
            with open(self.cache, "a") as file:
                file.write(json.dumps({"key": key, "name": film.name, "marks": answer}) + "\n")
        return answer

    def _ask(self, content: list[Any]) -> dict[str, float]:
        from openai import APIConnectionError, APIError, APIStatusError

        said = ""
        for _ in range(self.retries + 1):
            self._pace()
            try:
                reply = self._client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": content}],
                    temperature=0,
                    max_tokens=512,
                )
                said = (reply.choices[0].message.content or "") if reply.choices else ""
            except APIConnectionError as error:  # and time-outs
                raise NoAnswerError(f"no answer from {self.endpoint}: {error}") from error
            except APIStatusError as error:
                raise NoAnswerError(f"{self.endpoint} refused: {error}") from error
            except (APIError, ValueError, AttributeError, TypeError) as error:  # of another form
                said = f"({type(error).__name__}: {error})"
            marks = parse_marks(said)
            if marks is not None:
                return marks
        raise ValueError(
            f"{self.model} gave no marks in {self.retries + 1} answers, the last of them "
            f"{said[:200]!r}"
        )

    def _pace(self) -> None:
        """Wait until another request is allowed."""
        if self.per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + 60 / self.per_minute
        time.sleep(begin - now)


class NoAnswerError(ValueError):
    """The endpoint could not be reached, or refused."""


def parse_marks(text: str) -> dict[str, float] | None:
    """The five marks in an answer, and the final score where there is one; None without them."""
    marks = {}
    for scale in SCALES:
        name = re.escape(scale).replace(r"\ ", r"[\s_]+").replace(r"\-", r"[\s_-]?")
        found = re.findall(rf"{name}[\s*_\"']*[:=][\s*_\"']*(\d+(?:\.\d+)?)", text, re.IGNORECASE)
        if not found or not 1 <= float(found[-1]) <= HIGHEST:
            return None
        marks[scale] = float(found[-1])
    final = re.findall(r"final\s+score[\s*_\"']*[:=][\s*_\"']*(\d+(?:\.\d+)?)", text, re.IGNORECASE)
    if final and 1 <= float(final[-1]) <= 10:
        marks["final score"] = float(final[-1])
    return marks


def frames_of(file: VideoFile, count: int, side: int) -> list[np.ndarray]:
    """So many frames of a whole video at equal distances, (H, W, 3) of at most ``side`` pixels.

    What is transparent is over chequers.
    """
    info = probe(file)
    every = max(1, info.frames // (8 * count))  # of long videos not all need be kept
    frames = read_frames(file, channels=4 if info.has_alpha else 3)
    kept = [frame.image for i, frame in enumerate(frames) if i % every == 0]
    if not kept:
        raise VideoError(file, "no frames in it", "re-encode or replace the file")
    chosen = [kept[round(i)] for i in np.linspace(0, len(kept) - 1, count)]
    if info.has_alpha:
        chosen = list(to_images(to_show(to_clip(chosen))))
    height, width = chosen[0].shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return chosen
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return list(small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    imsave(buffer, image, format="jpeg", pil_kwargs={"quality": 95})
    return buffer.getvalue()


def _read_cache(path: Path) -> dict[str, dict[str, float]]:
    answers = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
                answers[row["key"]] = row["marks"]
            except (json.JSONDecodeError, KeyError, TypeError):
                logger.warning("%s: a line that is no answer is left out", path)
        if not path.read_bytes().endswith(b"\n"):  # what a killed run was writing
            with open(path, "a") as file:
                file.write("\n")
    return answers


def evaluate_with_judge(
    judge: Judge, films: Sequence[Film], on_films: Callable[[int], Any] = lambda done: None
) -> Evaluation:
    """The marks of videos, and their mean, the reward. Videos without marks are left out and named.

    Raises:
        ValueError: where no video got marks, or the endpoint does not answer.
    """
    marks, left_out, silent = dict[str, dict[str, float]](), dict[str, str](), 0
    for film, result in _in_parallel(judge, films):
        if isinstance(result, dict):
            marks[film.name], silent = result, 0
        else:
            left_out[film.name] = str(result)
            logger.warning("no marks for %s: %s", film.name, result)
            silent = silent + 1 if isinstance(result, NoAnswerError) else 0
        if silent >= PATIENCE or (silent and silent == len(films)):
            raise ValueError(
                f"{silent} clips in a row got no answer, the last: {result}. Is the model served "
                f"there? The {len(judge.answers)} answers so far are kept in {judge.cache}"
            )
        on_films(len(marks) + len(left_out))
    if not marks:
        raise ValueError(f"no video got marks: {next(iter(left_out.values()))}")
    names = sorted(marks)
    clips = {
        name: {"mark": sum(marks[name][s] for s in SCALES) / len(SCALES)} | marks[name]
        for name in names
    }
    measures = [m for m in clips[names[0]] if all(m in clip for clip in clips.values())]
    prompts = {film.name: film.prompt for film in films}
    protocol = EvaluationProtocol(
        "mark",
        {"mark": judge.described},
        len(names),
        len(names),
        judge.frames,
        f"at most {judge.side} pixels",
        None,
        "files",
        checksum_of_all(prompts[name] for name in names),
    )
    figures = {m: mean_interval([clips[name][m] for name in names]) for m in measures}
    return Evaluation(protocol, figures, clips, dict(sorted(left_out.items())))


def _in_parallel(
    judge: Judge, films: Sequence[Film]
) -> Iterator[tuple[Film, dict[str, float] | BaseException]]:
    """Each video with its marks or what went wrong, as they come; few wait at a time.

    The threads are daemons, so that a command that is interrupted waits for no answer.
    """
    asked: SimpleQueue[Film | None] = SimpleQueue()
    answered: SimpleQueue[tuple[Film, dict[str, float] | BaseException]] = SimpleQueue()

    def work() -> None:
        while (film := asked.get()) is not None:
            try:
                answered.put((film, judge.marks(film)))
            except BaseException as error:
                answered.put((film, error))

    left = iter(films)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(judge.jobs)]
    for thread in threads:
        thread.start()
    try:
        for film in islice(left, judge.jobs):
            asked.put(film)
        for _ in films:
            film, result = answered.get()
            for more in islice(left, 1):
                asked.put(more)
            if isinstance(result, BaseException) and not isinstance(result, ValueError):
                raise result
            yield film, result
    finally:
        for _ in threads:
            asked.put(None)
