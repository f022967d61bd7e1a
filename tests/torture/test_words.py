"""Numbers at their edges, and names that nobody expects, in every command."""

import itertools

import pytest
from chamber import MODEL, command

from made_videos import write

pytestmark = [pytest.mark.slow, pytest.mark.torture]
EDGES = ("-1", "0", "nan", "inf", "1e400", "99999999999999999999", "x")
COMMANDS = {
    "generate": (["a red disc"], ["number", "steps", "guidance", "seed", "frames", "fps", "size"]),
    "analyze": (
        ["m=nowhere", "--videos", "world"],
        ["clips", "frames", "fps", "seed", "batch-size", "size"],
    ),
    "shards": (
        ["world", "out", "--clips", "2"],
        ["per-shard", "clips", "frames", "fps", "seed", "size"],
    ),
    "stats": (["nowhere", "--videos", "world"], ["clips", "frames", "fps", "seed", "size"]),
    "cache-latents": (
        ["--vae", "nowhere", "--data", "world", "--out", "out"],
        ["clips", "frames", "fps", "seed", "shard-clips", "size"],
    ),
    "fit-map": (
        ["nowhere", "m.safetensors", "--videos", "world"],
        ["clips", "frames", "fps", "seed", "power"],
    ),
    "train tiny": (
        ["--out", "out", "--data", "world", "--dry-run"],
        [
            *("steps", "batch-size", "learning-rate", "kl-weight", "seed", "checkpoint-every"),
            *("lcr.weight", "lcr.threshold", "clip.frames", "clip.height", "model.z-dim"),
            *("ema-decay", "warmup-steps", "latent-noise.gamma", "future-dropping.probability"),
        ],
    ),
    "train-diffusion dit-tiny": (
        ["--latents", "nowhere", "--out", "out"],
        ["steps", "batch-size", "learning-rate", "model.layers", "cooldown-steps", "seed"],
    ),
    "train-probe": (["--out", "p.safetensors", "--steps", "1"], ["steps", "seed"]),
    "evaluate reconstruction": (
        ["--model", "nowhere", "--videos", "world"],
        ["clips", "frames", "fps", "seed", "batch-size"],
    ),
    "evaluate judge": (
        [
            "--videos",
            "no.csv",
            "--endpoint",
            "http://127.0.0.1:9",
            "--judge",
            "j",
            "--out",
            "r.json",
        ],
        ["frames", "side", "per-minute", "retries", "timeout", "jobs"],
    ),
    "evaluate drift": (
        ["m=nowhere", "--videos", "world"],
        ["rounds", "clips", "frames", "fps", "seed", "size"],
    ),
    "train distil": (
        ["--teacher", "nowhere", "--out", "out", "--data", "world"],
        ["steps", "batch-size", "latent-weight", "clip.frames"],
    ),
    "bench vaes": (["--vae", "a=nowhere", "--vae", "b=nowhere"], ["jobs", "seeds"]),
    "demo": (["--out", "out", "--videos", "nowhere.mp4"], ["steps", "diffusion-steps", "seed"]),
    "app": (["nowhere"], ["megabytes", "seconds", "side", "port"]),
}
NUMBERS = [
    (name, option, value)
    for name, (_, options) in COMMANDS.items()
    for option, value in itertools.product(options, EDGES)
]
STARTS = (
    "invalid", "must", "error", "no model", "parsing", "needs", "give", "no finished", "no list", "numbers"
)  # fmt: skip


@pytest.mark.parametrize(("name", "option", "value"), NUMBERS)
def test_numbers_at_their_edges(name, option, value, tmp_path):
    """Refused in a sentence: each either for the number, or, where it is one, for the model that is
    not there.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    given, _ = COMMANDS[name]
    values = [value, value] if option == "size" else [value]
    asked = [word for word in given if word != f"--{option}"]
    if len(asked) < len(given):  # an option with its value
        del asked[given.index(f"--{option}")]
    done = command(*name.split(), *asked, f"--{option}", *values, folder=folder)
    if name == "train tiny" and done.status == 0:  # a dry run shows what it would do
        free = option in ("lcr.threshold", "warmup-steps") and value == "-1"
        assert free or value in ("0", "99999999999999999999"), done.said
        assert not done.new
        return
    if option == "seed" and value == "0":
        assert done.status == 0 or done.refused("nowhere"), done.said
        return
    assert done.refused(), done.said
    assert any(word in done.said.lower() for word in STARTS), done.said


NAMES = (
    "a film.mp4", "it's.mp4", 'say "hi".mp4', "ünïcödé-日本.mp4", "[red]x[bold].mp4", "$HOME.mp4", "a;b&c.mp4",
    "%s%d.mp4", "new\nline.mp4", "tab\t.mp4", "dots...mp4", "UPPER.MP4", "*.mp4", "a{0..3}.mp4", "(1).mp4",
    "-dash.mp4", "--model.mp4", "~tilde.mp4", "back\\slash.mp4", "emoji😀.mp4", "x" * 200 + ".mp4", "=.mp4", "a=b.mp4",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "work", ["reconstruct", "encode", "analyze", "shards", "target", "evaluate"]
)
def test_names_that_nobody_expects(work, name, tmp_path):
    folder = tmp_path / "work"
    (folder / "films").mkdir(parents=True)
    write(folder / "films" / name, 9, 32, 32)
    film = f"./films/{name}"  # what begins with a dash is an option, as everywhere
    sizes = ("--frames", 9, "--size", 32, 32, "--clips", 1)
    words = {
        "reconstruct": ("reconstruct", film, "out.mp4", "--model", MODEL),
        "encode": ("encode", film, "z.safetensors", "--model", MODEL),
        "analyze": ("analyze", MODEL, "--videos", film, *sizes, "--json", "a.json"),
        "shards": ("shards", "films", "out"),
        "target": ("reconstruct", film, f"./out{name}", "--model", MODEL),
        "evaluate": ("evaluate", "reconstruction", "--model", MODEL, "--videos", film, *sizes),
    }[work]
    done = command(*words, folder=folder)
    patterns = work in ("analyze", "evaluate") and any(c in name for c in "*{")
    assert done.held() or (patterns and done.refused()), done.said
