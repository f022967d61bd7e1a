"""The command line through its real entry point, as a process of its own."""

import inspect
import json
import logging
import signal
from pathlib import Path

import pytest
import torch

from commands import (
    SCRIPT,
    TINY,
    installed,
    launch,
    started,
    status_and_output,
    torchrun,
    wait_until,
)
from made_videos import write
from ssvae.cli import COMMANDS
from ssvae.cli.console import configure_logging
from ssvae.cli.demo import real_videos
from ssvae.data.video import probe, read_clip
from ssvae.data.video_writer import write_video
from ssvae.data.world import World
from ssvae.latents.mapped import load_map
from ssvae.models import AutoencoderKLSSVAE

OFFICIAL = Path(__file__).parent / "parity" / "official_small.ckpt"


@pytest.fixture(scope="module")
def ssvae(tmp_path_factory):
    """Run a command; its output, standard error behind it."""
    folder = tmp_path_factory.mktemp("here")

    def run(*words, status: int = 0) -> str:
        ended, output = status_and_output(*words, folder=folder)
        assert ended == status, output
        assert "Traceback" not in output
        return output

    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    output = installed("train", "tiny", "--out", out, "--steps", 3, *TINY, "--device", "cpu")
    assert "finished at step 3" in output
    return out


def test_version_help_and_recipes(ssvae):
    assert installed("--version").startswith("ssvae 0.")
    listed = installed("--help")
    assert all(f"  {name.split()[0]} " in listed for name in COMMANDS)
    told = ssvae("bench", "--help")
    assert all(name in told for name in ("vaes", "interventions"))
    kinds = ("reconstruction", "generation", "judge", "compare")
    told = ssvae("evaluate", "--help")
    assert all(name in told for name in kinds)
    assert "--lcr.weight" in ssvae("train", "tiny", "--help-all")
    told = ssvae("recipes")
    assert all(name in told for name in ("tiny-baseline", "dit-small"))
    assert "usage: ssvae COMMAND" in ssvae(status=2)
    assert "no command trian; did you mean train?" in ssvae("trian", status=2)
    assert "no command bench zzzzzzzz: ssvae --help" in ssvae("bench", "zzzzzzzz", status=2)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_first_line_of_its_help(name):
    function = COMMANDS[name].load(name)
    assert COMMANDS[name].summary == inspect.cleandoc(function.__doc__ or "").split("\n")[0]


def test_dry_run(ssvae, tmp_path):
    output = ssvae("train", "tiny", "--out", tmp_path / "run", "--lcr.weight", 0.5, "--dry-run")
    assert '"weight": 0.5' in output
    assert "1.32 M parameters" in output
    assert not (tmp_path / "run").exists()


def test_train_reconstruct_analyze(ssvae, run, tmp_path):
    source = write(tmp_path / "in.mp4", 20, 35, 50)
    output = ssvae("reconstruct", source, tmp_path / "out.mp4", "--model", run)
    assert "20 frames written" in output
    assert (probe(tmp_path / "out.mp4").frames, probe(tmp_path / "out.mp4").width) == (20, 50)

    last = run / "checkpoints" / "step-00000003"
    output = ssvae(
        *(
            "analyze",
            run,
            f"a[/red]gain={last}",
            "--videos",
            source,
            "--clips",
            3,
            "--size",
            16,
            16,
        ),
        *("--frames", 9, "--json", tmp_path / "a.json", "--figure", tmp_path / "a.svg"),
        *("--out", tmp_path / "a.html"),
    )
    assert "effective rank" in output
    assert "3 clips of 9 frames of 16x16" in output
    figures = json.loads((tmp_path / "a.json").read_text())
    assert list(figures) == ["run", "a[/red]gain"]
    for each in figures.values():
        assert each.pop("cost")["encode_seconds"] > 0
    assert figures["run"] == figures["a[/red]gain"]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert (tmp_path / "a.html").read_text().count("data:video/mp4") == 3 * (1 + 2 * 2)
    assert (tmp_path / "a-figures" / "frequency.svg").exists()


@pytest.mark.parametrize(
    "start",
    [lambda *words: launch(Path(SCRIPT), *words), pytest.param(torchrun, marks=pytest.mark.slow)],
    ids=["as torchrun", "torchrun"],
)
def test_analyze_by_two_processes(ssvae, run, start, tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.mp4", 10 + i, 32, 32)
    (tmp_path / "3.mp4").write_bytes(b"junk")
    words = ["analyze", run, "--videos", tmp_path, "--clips", 8, "--size", 16, 16, "--frames", 9]
    words += ["--network", "probe"]
    output = ssvae(*words, "--json", tmp_path / "one.json")
    assert "3.mp4 (unreadable)" in output
    start(*words, "--batch-size", 3, "--json", tmp_path / "two.json", "--device", "cpu")
    one, two = (json.loads((tmp_path / f"{n}.json").read_text())["run"] for n in ("one", "two"))
    assert one["protocol"]["clips"] == two["protocol"]["clips"] == 6
    for key in ("low_share", "effective_rank", "local_correlation", "robustness", "curve"):
        assert two[key] == pytest.approx(one[key], rel=1e-4, abs=1e-9), key
    for name in ("in_time", "of_neighbours"):
        distances = [each["interpolations"][name]["frechet"]["value"] for each in (one, two)]
        assert distances[0] == pytest.approx(distances[1], rel=1e-3)
    assert "tFVD, kernel" in output
    measured = one["reconstruction"]["frame_ssim"]
    assert two["reconstruction"]["frame_ssim"] == pytest.approx(measured, rel=1e-4)


def test_a_model_that_breaks_leaves_the_others(ssvae, run, tmp_path):
    broken = AutoencoderKLSSVAE.from_pretrained(run / "checkpoints" / "step-00000003" / "vae")
    broken.encoder.conv_in.weight.data.fill_(float("nan"))
    broken.save_pretrained(tmp_path / "broken")
    words = ("analyze", tmp_path / "broken", OFFICIAL, "--videos", "world", "--clips", 2)
    words += ("--size", 32, 32, "--frames", 5, "--out", tmp_path / "a.html")
    output = ssvae(*words, status=2)
    assert "1 of 2 models could not be analysed: broken: the latents of all 2 clips" in output
    page = (tmp_path / "a.html").read_text()
    assert "Not analysed" in page
    assert "official_small.ckpt" in page


@pytest.mark.quick
def test_convert_encode_decode(ssvae, tmp_path):
    model, latents = tmp_path / "model", tmp_path / "z.safetensors"
    output = ssvae("convert", OFFICIAL, model)
    assert "left out 1 tensors of loss.*" in output
    assert "its latent statistics are not known" in output
    assert (model / "masking.safetensors").exists()
    sizes = ("--clips", 2, "--frames", 5, "--size", 32, 32)
    assert "channel 7" in ssvae("stats", model, "--videos", "world", *sizes, "--write")
    vae = AutoencoderKLSSVAE.from_pretrained(model)
    assert 0 < vae.config["latents_std"][0] != 1

    source = write(tmp_path / "in.mp4", 7, 35, 50)
    assert "7 frames encoded" in ssvae("encode", source, latents, "--model", model)
    assert "7 frames written" in ssvae("decode", latents, tmp_path / "a.mp4", "--model", model)
    limits = ("--frames", 4, "--tile", 32)
    ssvae("reconstruct", source, tmp_path / "b.mp4", "--model", model, *limits)
    for name in ("a.mp4", "b.mp4"):
        info = probe(tmp_path / name)
        assert (info.frames, info.width, info.height) == (7, 50, 35)

    assert "parameters in float32" in ssvae("convert", model, tmp_path / "b.ckpt", "--to-official")
    before, after = (
        torch.load(path, weights_only=True)["state_dict"]
        for path in (OFFICIAL, tmp_path / "b.ckpt")
    )
    assert all(torch.equal(before[name], after[name]) for name in after)
    half = ssvae("convert", OFFICIAL, tmp_path / "half", "--dtype", "bfloat16")
    assert "parameters in bfloat16" in half
    sizes = [sum(f.stat().st_size for f in p.iterdir()) for p in (model, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]


DIT = [
    *("--batch-size", "4", "--model.layers", "1", "--model.heads", "2", "--model.head-dim", "16"),
    *("--model.ffn-dim", "32", "--text.width", "16", "--text.layers", "1", "--text.heads", "2"),
]
PROMPT = "a red disc moving left over coarse waves"


def test_a_model_of_colours_is_given_alpha(ssvae, run, tmp_path):
    """By name, as a user has it: a film with alpha goes through, and training begins with it."""
    wide, film = tmp_path / "wide", tmp_path / "a.mov"
    write_video(film, World(5, 32, 48, channels=4).batch([1]).video[0], 8)
    assert "written to" in ssvae("convert", run, wide, "--channels", 4)
    assert (wide / "masking.safetensors").is_file()
    told = ssvae("reconstruct", film, tmp_path / "b.webm", "--model", wide, "--device", "cpu")
    assert "5 frames" in told
    assert read_clip(tmp_path / "b.webm", 5, channels=4).shape == (4, 5, 32, 48)
    told = ssvae("reconstruct", film, tmp_path / "b.mp4", "--model", wide, status=2)
    assert ".mp4 holds no alpha" in told
    channels = ("--model.in-channels", 4, "--model.out-channels", 4)
    told = ssvae(
        "train", "tiny", "--init", run, *channels, "--out", tmp_path / "run", "--steps", 1, *TINY
    )
    assert "finished at step 1" in told
    told = ssvae("convert", run, tmp_path / "x.ckpt", "--to-official", "--channels", 4, status=2)
    assert "leave out --channels" in told
    assert "written to" in ssvae("convert", OFFICIAL, tmp_path / "grey", "--channels", 1)
    assert AutoencoderKLSSVAE.from_pretrained(tmp_path / "grey").config["in_channels"] == 1
    assert "no model at none" in ssvae("convert", "none", tmp_path / "x", "--channels", 1, status=2)


def test_from_latents_to_clips(ssvae, run, tmp_path):
    cache, diffusion = tmp_path / "cache", tmp_path / "diffusion"
    encode = (
        *("cache-latents", "--vae", run, "--data", "world", "--out", cache),
        *("--clips", 12, "--size", 16, 16),
    )
    assert "12 clips in" in ssvae(*encode)
    assert "12 clips in" in ssvae(*encode)  # once more: all is there
    ssvae("fit-map", cache, tmp_path / "map.safetensors", "--power", 1.5)
    again = ("fit-map", run, tmp_path / "again.safetensors", "--power", 1.5, "--videos", "world")
    ssvae(*again, "--clips", 12, "--size", 16, 16)
    maps = [load_map(tmp_path / f"{name}.safetensors") for name in ("map", "again")]
    assert torch.allclose(maps[0].gain, maps[1].gain, rtol=1e-3)
    command = ("train-diffusion", "dit-tiny", "--latents", cache, "--out", diffusion, *DIT)
    mapped = ("--map", tmp_path / "map.safetensors")
    assert "M parameters" in ssvae(*command, *mapped, "--dry-run")
    assert not diffusion.exists()
    assert "finished at step 2" in ssvae(*command, *mapped, "--steps", 2)

    out, options = tmp_path / "clips", ("-n", 3, "--steps", 2)
    ssvae("generate", PROMPT, "anything", "--model", diffusion, "--out", out, *options)
    assert sorted(p.name for p in out.glob("*.mp4")) == [
        f"0{i}-0{j}.mp4" for i in (0, 1) for j in (0, 1, 2)
    ]
    assert (probe(out / "01-02.mp4").frames, probe(out / "01-02.mp4").width) == (9, 16)
    assert (out / "clips.csv").read_text().splitlines()[:2] == [
        "path,caption",
        f"00-00.mp4,{PROMPT}",
    ]
    with open(out / "contact-sheet.png", "rb") as sheet:
        assert sheet.read(4) == b"\x89PNG"

    ssvae("export", diffusion, tmp_path / "pipeline")
    again = tmp_path / "again"
    ssvae(
        "generate", PROMPT, "anything", "--model", tmp_path / "pipeline", "--out", again, *options
    )
    assert (again / "01-02.mp4").read_bytes() == (out / "01-02.mp4").read_bytes()

    shared = tmp_path / "shared"
    asked = ("generate", PROMPT, "anything", "--model", diffusion, "--out", shared, *options)
    assert "6 clips in" in launch(Path(SCRIPT), *asked)
    for name in ("00-01.mp4", "01-02.mp4"):  # the first process's, and the second's
        one, two = (read_clip(folder / name, 9, 0.0) for folder in (out, shared))
        torch.testing.assert_close(two, one, rtol=0, atol=0.05)
    assert (shared / "clips.csv").read_text() == (out / "clips.csv").read_text()


def test_train_probe(ssvae, tmp_path):
    output = ssvae("train-probe", "--out", tmp_path / "probe.safetensors", "--steps", 2)
    assert "on true held-out clips it names shape" in output
    assert (tmp_path / "probe.safetensors").exists()


@pytest.mark.quick
def test_shards_and_training_on_them(ssvae, tmp_path):
    (tmp_path / "media").mkdir()
    write(tmp_path / "media" / "a.mkv", 12, 36, 48)
    write(tmp_path / "media" / "b.mp4", 12, 36, 48)
    (tmp_path / "media" / "c.mp4").write_bytes(b"junk")
    output = ssvae("shards", tmp_path / "media", tmp_path / "shards", "--per-shard", 2)
    assert "2 items in 2 shards" in output
    assert "left out: unreadable 1 times" in output
    output = ssvae(
        *("train", "tiny", "--out", tmp_path / "run", "--steps", 3, *TINY, "--device", "cpu"),
        *("--data", f"{tmp_path}/shards/{{000000..000001}}.tar:1,world:1", "--clip.fps", 8),
        *("--images.share", 0.5, "--images.batch-size", 3, "--ema-decay", 0.9),
        *("--validation.every", 2, "--validation.clips", 2),
    )
    assert "finished at step 3" in output
    assert len((tmp_path / "run" / "validation.jsonl").read_text().splitlines()) == 2
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    assert len(list((tmp_path / "run" / "samples").glob("*.mp4"))) == 2


def test_a_run_that_is_asked_to_stop_saves(tmp_path):
    command = ["train", "tiny", "--out", tmp_path / "run", "--steps", "100000", *TINY]
    process, said = started(*command, folder=tmp_path)
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
    process.terminate()
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step" in said.read_text()
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert len(metrics.read_text().splitlines()) == int(saved.name[5:])


def test_a_killed_run_goes_on(ssvae, tmp_path):
    command = ["train", "tiny", "--out", tmp_path / "run", *TINY, "--checkpoint-every", "5"]
    process, _ = started(*command, "--steps", "100000", folder=tmp_path)
    saved = tmp_path / "run" / "checkpoints"
    wait_until(lambda: any(saved.glob("step-*")), process)
    process.kill()
    process.join()
    reached = max(int(p.name[5:]) for p in saved.glob("step-*"))
    assert "resumed from" in ssvae(*command, "--steps", reached + 2)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").open()]
    assert steps == list(range(1, reached + 3))


@pytest.mark.quick
def test_the_demo_has_real_clips():
    assert all(probe(video).frames > 33 for video in real_videos())


def test_demo(ssvae, tmp_path):
    clip = write(tmp_path / "clip.mp4", 12, 48, 64)
    words = ("demo", "--out", tmp_path / "demo", "--steps", 1, "--diffusion-steps", 4)
    words += ("--videos", clip, "--device", "cpu")
    output = ssvae(*words)
    assert "low-frequency share" in output
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in output
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("data:video/mp4;base64") == 3
    assert "clip.mp4" in page
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert list(summary) == ["baseline", "LCR"]
    # Once more: nothing is trained again, and the figures are the same.
    ssvae(*words)
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary


MISTAKES = [
    (["reconstruct", "none.mp4", "out.mp4", "--model", "x"], "none.mp4: no such file"),
    (["encode", "none.mp4", "z.safetensors", "--model", "x"], "none.mp4: no such file"),
    (["decode", "none.safetensors", "o.mp4", "--model", "x"], "no latents at none.safetensors"),
    (["evaluate", "reconstruction", "--model", "x"], "--model and --videos, or --originals"),
    (["evaluate", "reconstruction", "--model", "x", "--videos", "world"], "no model at x"),
    (["evaluate", "reconstruction", "--originals", "a", "--reconstructions", "b"], "no folder a"),
    (
        ["evaluate", "generation", "--generated", "a", "--real", "b", "--network", "fid"],
        "probe, i3d",
    ),
    (
        ["evaluate", "generation", "--generated", "a", "--real", "b", "--network", "probe"],
        "no file",
    ),
    (
        [
            "evaluate",
            "judge",
            "--videos",
            ".",
            "--endpoint",
            "x",
            "--judge",
            "m",
            "--out",
            "a.json",
        ],
        "no videos or images below",
    ),
    (["evaluate", "compare", "a.json"], "at least two different files"),
    (["evaluate", "compare", "a.json", "b.json"], "a.json is no evaluation"),
    (["convert", "none.ckpt", "out"], "no checkpoint at none.ckpt"),
    (["convert", ".", "out"], "a published checkpoint is a file"),
    (["convert", ".", "out.ckpt", "--to-official"], "no model in ."),
    (["stats", "nowhere", "--videos", "world"], "no model at nowhere"),
    (["analyze", "nowhere", "--videos", "world"], "no model at nowhere"),
    (["analyze", "a=x", "b=x", "--videos", "world", "--out", "a.txt"], "ends in .html"),
    (["analyze", "a=x", "a=y", "--videos", "world"], "a name of its own"),
    (["analyze", "x", "--videos", "world", "--json", "no/a.json"], "there is no folder no"),
    (["train", "tiny", "--out", "r", "--clip.frames", "8"], "4n + 1 frames"),
    (["train", "tiny", "--out", "r", "--no-such-option", "8"], "no-such-option"),
    (["train", "tiny", "--out", "r", "--data", "nowhere"], "no file or folder nowhere"),
    (["train", "tiny", "--out", "r", "--data", "no*.tar"], "no shards match no*.tar"),
    (["train", "tiny", "--out", "r", "--gan.start", "0"], "gan needs sides of at least 48"),
    (["train", "tiny", "--out", "r", "--tracker", "wandb"], "wandb is not installed"),
    (
        ["train", "tiny", "--out", "r", "--perceptual.weight", "1", "--perceptual.vgg", "no.pth"],
        "no.pth does not load as weights",
    ),
    (["train", "adapt", "--out", "r", "--data", "world"], "--model"),
    (["train", "adapt", "--model", "nowhere", "--data", "world", "--out", "r"], "no model at"),
    (["train", "ssvae-512p-decoder", "--data", "world", "--out", "r"], "--init"),
    (["shards", "nowhere", "out"], "no file or folder nowhere"),
    (["cache-latents", "--vae", "nowhere", "--data", "world", "--out", "r"], "no model at nowhere"),
    (["train-diffusion", "dit-tiny", "--latents", "c", "--out", "r"], "no finished cache"),
    (["train-diffusion", "dit-tiny", "--out", "r"], "--latents"),
    (["generate", "a cat", "--model", "nowhere", "--out", "r"], "no model at nowhere"),
    (["generate", " ", "--model", "nowhere", "--out", "r"], "none of them empty"),
    (["app", "x"], "no model at x"),
    (["app", "x", "--runs", "r"], "a folder of runs; there is none at r"),
    (["app", "x", "--side", "0"], "side must be at least 1"),
    (["analyze", "x", "--videos", "world", "--fps", "-1"], "fps must be positive, got -1"),
    (["analyze", "x", "--videos", "world", "--size", "8", "0"], "size must be at least 1, got 0"),
    (["shards", "world", "s", "--seed", "-1"], "seed must be at least 0, got -1"),
    (["stats", "x", "--videos", "world", "--frames", "0"], "frames must be at least 1, got 0"),
    (
        ["cache-latents", "--vae", "x", "--data", "world", "--out", "r", "--clips", "0"],
        "clips must be at least 1",
    ),
    (
        [
            "evaluate",
            "generation",
            "--generated",
            "g",
            "--real",
            "r",
            "--network",
            "probe",
            "--batch-size",
            "0",
        ],
        "batch-size must be at least 1",
    ),
    (["bench", "vaes", "--jobs", "-2"], "jobs must be at least 1, got -2"),
    (["app", "x", "--port", "70000"], "port must be at most 65535, got 70000"),
    (["reconstruct", ".", "b.mp4"], ".: a folder: give the path of a video file in it"),
    (["generate", "a", "--model", "m", "--out", "o", "--fps", "nan"], "fps is nan"),
    (["generate", "a", "--model", "m", "--out", "o", "--guidance", "inf"], "guidance is inf"),
    (["generate", "a", "--model", "m", "--out", "o", "--fps", "-5"], "fps must be positive"),
    (["generate", "a", "--model", "m", "--out", str(OFFICIAL)], "is a file"),
    (["train", "tiny", "--out", "r", "--lcr.threshold", "nan"], "threshold is nan"),
    (["export", ".", "r"], "neither a checkpoint of a diffusion model"),
    (["fit-map", "c", "map.pt"], "NAME.safetensors"),
    (["train-probe", "--out", "p.pt"], "NAME.safetensors"),
    (["bench", "vaes", "--seeds", "1,1"], "different numbers"),
    (["bench", "vaes", "--vae", "a=x"], "at least two autoencoders"),
    (["bench", "vaes", "--vae", "a=x", "--vae", "b=y"], "no model at x"),
    (["bench", "interventions", "--steps", "20", "10"], "rising numbers"),
    (["bench", "vaes", "--size", "9", "30", "30", "--vae", "a=x", "--vae", "b=y"], "no model at x"),
]


def test_a_log_line_in_a_pipe_is_one_line(capfd):
    configure_logging(debug=False)
    path = "/a/" + "long/" * 60
    logging.getLogger("ssvae.data").warning("%s: left out", path)
    assert capfd.readouterr().err == f"{path}: left out\n"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A folder in which mistaken commands must exit_without_teardown nothing."""
    folder = tmp_path_factory.mktemp("mistakes")
    yield folder
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES]
)
def test_errors_take_a_line_and_status_2(words, message, empty):
    status, output = status_and_output(*words, folder=empty)
    assert status == 2, output
    assert message in output
    assert "Traceback" not in output
