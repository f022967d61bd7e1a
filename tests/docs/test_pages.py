"""Every block of README and docs runs in a process of its own: ``make docs-run`` for all, CI for
some.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from blocks import ROOT, Block, blocks_of, check, programs, run
from diffusers import AutoencoderKLWan

from made_videos import images, write
from ssvae.data.video_writer import VideoWriter

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_CI = {"README.md", "regularizers.md"}
SKIPPED = 9
"""Blocks that cannot run here; one more wants a reason."""
BLOCKS = {page: blocks_of(page) for page in PAGES}


def cases():
    for page, blocks in BLOCKS.items():
        marks = [] if page.name in IN_CI else [pytest.mark.docs, pytest.mark.slow]
        yield from (pytest.param(block, id=str(block), marks=marks) for block in blocks)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    """What a reader has: films, with alpha too, a VAE of another class, the published
    checkpoint.
    """
    folder = tmp_path_factory.mktemp("reader")
    for name in ("videos", "films", "made", "cutouts"):
        (folder / name).mkdir()
    for target in ("holiday.mp4", "clip.mp4", "videos/a.mp4", "videos/b.mp4", "films/a.mp4"):
        write(folder / target, 24, 64, 96)
    shutil.copy(folder / "films" / "a.mp4", folder / "made" / "a.mp4")
    for target in ("cutout.mov", "cutouts/a.mov"):
        with VideoWriter(folder / target, 64, 64, 10, channels=4) as writer:
            for image in images(17, 64, 64):
                alpha = image[..., :1]
                writer.write(
                    torch.cat(
                        [
                            torch.from_numpy(image).minimum(torch.from_numpy(alpha)),
                            torch.from_numpy(alpha),
                        ],
                        -1,
                    ).numpy()
                )
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    vae.save_pretrained(folder / "wan" / "vae")
    shutil.copy(ROOT / "tests" / "parity" / "official_small.ckpt", folder / "official.ckpt")
    programs(folder)
    return folder


@pytest.fixture(scope="module")
def folders(stand_ins, tmp_path_factory) -> dict[Path, Path]:
    """The folder of each page, filled when its first block runs."""
    return {}


@pytest.mark.parametrize("block", list(cases()))
def test_a_block_runs(block: Block, stand_ins: Path, folders: dict[Path, Path], tmp_path_factory):
    if block.skipped:
        check(block)
        return
    if block.page not in folders:
        folder = folders[block.page] = tmp_path_factory.mktemp(block.page.stem) / "reader"
        shutil.copytree(stand_ins, folder)
        if block.page.name == "inference.md":  # which the page on diffusion makes
            ssvae = str(Path(sys.executable).with_name("ssvae"))
            subprocess.run([ssvae, "export", "world-t2v", "pipeline"], cwd=folder, check=True)
    folder = folders[block.page]
    earlier = [other for other in BLOCKS[block.page] if other.number < block.number]
    run(block, folder, earlier, folder / "programs")


def test_blocks_that_cannot_run_are_few():
    skipped = [block for blocks in BLOCKS.values() for block in blocks if block.skipped]
    assert len(skipped) <= SKIPPED, [str(block) for block in skipped]


def test_each_note_belongs_to_a_block():
    """One that stands elsewhere would say nothing."""
    for page, blocks in BLOCKS.items():
        noted = sum(len(block.notes) for block in blocks)
        assert page.read_text().count("<!-- docs-run") == noted, page
