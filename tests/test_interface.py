"""Help, completion and settings in files: what the command line does before it imports torch."""

import json
import shutil
import subprocess
import sys

import pytest

from commands import SCRIPT, TINY, status_and_output
from ssvae.cli import COMMANDS
from ssvae.cli.configs import with_settings
from ssvae.cli.help import help_of
from ssvae.cli.interface import FILE, interface_of
from tools.interface import written


def test_the_file_is_fresh():
    """``python -m tools.interface`` writes it anew."""
    assert FILE.read_text() == written()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    interface = interface_of(name)
    texts = [help_of(name, interface, ["--help"])]
    for recipe, inner in interface.recipes.items():
        whole = help_of(name, interface, [recipe, "--help-all"])
        assert all(option.names[0] in whole or len(option.names) > 1 for option in inner.options)
        texts += [whole, help_of(name, interface, [recipe, "--help"])]
    for option in interface.options:
        assert option.names[-1].removeprefix("--").removeprefix("no-") in texts[0].lower()
    longest = max((line for text in texts for line in text.splitlines()), key=len)
    assert len(longest) <= 80, longest


def test_a_group_of_settings():
    text = help_of("train", interface_of("train"), ["tiny", "--help", "lcr"])
    assert "--lcr.weight FLOAT" in text
    assert "--lmr" not in text


@pytest.mark.parametrize(
    "words", [["models"], ["recipes"], ["train", "tiny", "--help"], ["completion", "bash"]]
)
def test_torch_is_not_imported_for(words):
    code = (
        "import sys\nfrom ssvae.cli import main\n"
        f"sys.argv = {['ssvae', *words]}\nmain()\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100


def completed(words: str, place: int) -> set[str]:
    """What bash offers for a word of a command line."""
    script = (
        f"source <({SCRIPT} completion bash)\n"
        f"COMP_WORDS=({words}); COMP_CWORD={place}; _ssvae; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes():
    assert {"train", "train-diffusion", "train-probe"} == completed("ssvae train", 1)
    assert {"reconstruction"} == completed("ssvae evaluate rec", 2)
    assert {"tiny", "tiny-baseline"} == completed("ssvae train ti", 2)
    assert {"--lcr.weight", "--lcr.window"} == completed("ssvae train tiny --lcr.w", 3)
    assert {"float32", "bfloat16"} == completed("ssvae analyze --dtype ''", 3)
    assert {"--videos", "--vgg"} == completed("ssvae evaluate reconstruction --v", 3)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell):
    made = subprocess.run([SCRIPT, "completion", shell], capture_output=True, text=True, check=True)
    assert "tiny-baseline" in made.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=made.stdout, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_a_recipe_that_is_not_there_is_guessed(tmp_path):
    status, said = status_and_output("train", "tinny", "--out", "run", folder=tmp_path)
    assert status == 2
    assert "did you mean tiny?" in said
    status, said = status_and_output("train", "--out", "run", folder=tmp_path)
    assert status == 2
    assert "takes a recipe" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("train tiny --out x --lrc.weight 1", "no option --lrc.weight; did you mean --lcr.weight?"),
        ("train tiny --steps 3", "ssvae train tiny needs --out PATH"),
        ("analyze tiny --clip=3", "ssvae analyze has no option --clip; did you mean --clips?"),
        ("evaluate reconstruction --metric a.py:f --metric a.py:g", "--metric is typed twice"),
        ("encode in.mp4 --lcr.weight 1 --out x", "ssvae encode has no option --lcr.weight"),
    ],
)
def test_an_option_that_is_none_is_told_in_one_line(words, problem, tmp_path):
    status, said = status_and_output(*words.split(), folder=tmp_path)
    assert status == 2
    assert problem in said
    assert len(said.splitlines()) == 1


def test_settings_become_words(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        'recipe = "tiny"\nsteps = 7\n[lcr]\nenabled = false\nwindow = [1, 2, 2]\n[clip]\nfps = 8\n'
    )
    interface = interface_of("train")
    words = with_settings(interface, ["--config", str(file), "--steps", "9", "--out", "x"])
    assert words == [
        *("tiny", "--lcr.no-enabled", "--lcr.window", "1", "2", "2", "--clip.fps", "8"),
        *("--steps", "9", "--out", "x"),
    ]
    words = with_settings(interface, ["film", f"--config={file}", "--lcr.enabled"])
    assert words[0] == "--steps"  # the recipe that is typed counts
    assert "--lcr.no-enabled" not in words


def test_an_option_that_is_repeated(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"vae": ["a=tiny", "b=film"], "jobs": 2}))
    words = with_settings(interface_of("bench vaes"), ["--config", str(tmp_path / "s.json")])
    assert words == ["--vae", "a=tiny", "--vae", "b=film", "--jobs", "2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('recipe = "tinny"', "names no recipe: tinny; did you mean tiny"),
        ('recipe = "tiny"\nstep = 3', "step, which is no setting here; did you mean steps"),
        ("nonsense = 3", "is of no recipe of this command: nonsense"),
        ("steps = ", "does not read as TOML or JSON"),
    ],
)
def test_settings_that_are_wrong(text, problem, tmp_path):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match=problem):
        with_settings(interface_of("train"), ["--config", str(tmp_path / "s.toml")])
    with pytest.raises(ValueError, match="there is no file"):
        with_settings(interface_of("train"), ["--config", str(tmp_path / "none.json")])
    with pytest.raises(ValueError, match="--config takes a value"):
        with_settings(interface_of("train"), ["--config"])


def test_a_run_goes_on_by_its_folder_alone(tmp_path):
    # A folder may be called as a recipe is.
    words = ["train", "tiny", "--out", "film", "--steps", "2", *TINY, "--lcr.no-enabled"]
    status, said = status_and_output(*words, "--save-config", "all.json", folder=tmp_path)
    assert status == 0, said
    status, said = status_and_output("train", "--resume", "film", folder=tmp_path)
    assert status == 0, said
    assert "is finished" in said
    longer = "train", "--resume", "film", "--steps", "3"
    status, said = status_and_output(*longer, folder=tmp_path)
    assert status == 0, said
    assert "resumed from" in said
    # Another run by the saved settings, and by the first one's own, is the same run.
    for file in ("all.json", "film/config.json"):
        again = "train", "--config", file, "--out", "again", "--steps", "2"
        status, said = status_and_output(*again, folder=tmp_path)
        assert status == 0, said
        rows = [
            [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()][:2]
            for name in ("film", "again")
        ]
        assert rows[0] == rows[1]
        shutil.rmtree(tmp_path / "again")


def test_other_commands_take_settings_too(tmp_path):
    settings = {"models": ["tiny"], "videos": "world", "clips": 4, "frames": 9, "size": [32, 32]}
    (tmp_path / "s.json").write_text(json.dumps(settings | {"skip_artefacts": True}))
    words = "analyze", "--config", "s.json", "--clips", "3"
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    assert "3 clips of 9 frames" in said
