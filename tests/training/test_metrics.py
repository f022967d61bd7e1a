import math

import pytest
import torch
from torch import nn

from small_runs import cpu, small
from ssvae.storage.files import read_rows
from ssvae.training.devices import peak_of
from ssvae.training.metrics import Ratio, read_out
from ssvae.training.speed import SpeedLog, counted
from ssvae.vae import ClipConfig, GANConfig, VAETrainer, train_autoencoder


def test_metrics_of_several_steps_at_once():
    steps = [
        {
            "loss": torch.tensor(0.5),
            "rate": 0.1,
            "part": Ratio(torch.tensor(6.0), torch.tensor(4.0)),
        },
        {
            "loss": torch.tensor(math.inf),
            "rate": 1,
            "part": Ratio(torch.zeros(()), torch.zeros(())),
        },
    ]
    one, two = read_out(cpu(), steps)
    assert one == {"loss": 0.5, "rate": 0.1, "part": 1.5}
    assert two["loss"] == math.inf
    assert math.isnan(two["part"])
    assert list(two) == ["loss", "rate", "part"]
    assert read_out(cpu(), [{"rate": 2.0}]) == [{"rate": 2.0}]


def test_speed_is_told_apart_from_what_repeats(tmp_path):
    told = []
    recipe = small(steps=25, checkpoint_every=25)
    train_autoencoder(recipe, tmp_path / "run", cpu(), lambda step, m: told.append(m))
    rows = read_rows(tmp_path / "run" / "speed.jsonl")
    assert [row["step"] for row in rows] == [20, 25]
    for row in rows:
        assert row["clips_per_second"] == pytest.approx(2 * row["steps_per_second"])
        assert 0 <= row["waited_for_data"] < 1
    assert "clips_per_second" not in told[0]
    assert told[-1]["clips_per_second"] == rows[0]["clips_per_second"]
    assert not {"clips_per_second", "waited_for_data"} & set(
        read_rows(tmp_path / "run" / "metrics.jsonl")[-1]
    )


def test_operations_are_those_of_torch(tmp_path):
    speed = SpeedLog(tmp_path / "speed.jsonl", 3, cpu())
    product = speed.counted(lambda: torch.ones(2, 5) @ torch.ones(5, 7))
    assert product.sum() == 2 * 7 * 5
    assert speed.operations == 2 * 2 * 5 * 7
    batches = list(speed.waited_for(iter("ab")))
    assert batches == ["a", "b"]
    for _ in batches:
        speed.step()
    row = speed.write(2)
    assert row["teraflops"] == pytest.approx(140e-12 * row["steps_per_second"])
    assert speed.write(2) == {}, "nothing since"
    assert peak_of(torch.device("cpu"), half=True) is None


def test_operations_of_a_step_with_all_of_it():
    """balance and R1 differentiate by what enters the discriminators."""
    gan = GANConfig(start=0, channels=4, halvings=3, r1_weight=0.1)
    clip = ClipConfig(9, 24, 24)
    trainer = VAETrainer(small(gan=gan, clip=clip), cpu())
    (batch,) = trainer.batches(1, 1)
    outcome, operations = counted(lambda: trainer.step(1, batch))
    assert outcome.updated
    assert operations > 1e8


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_counted_rounds_as_ever(compiled):
    """No operator is decomposed: the first step of a call is as that of an unbroken run."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv3d(3, 8, 3), nn.SiLU(), nn.Conv3d(8, 3, 3), nn.SiLU())
    run, x = torch.compile(layers) if compiled else layers, torch.randn(2, 3, 6, 8, 8)

    def gradients() -> list[torch.Tensor]:
        loss = run(x).square().sum()
        return list(torch.autograd.grad(loss, list(layers.parameters())))

    found, operations = counted(gradients)
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(), strict=True))
    each = [2 * 2 * 8 * 27 * 3 * places for places in (4 * 6 * 6, 2 * 4 * 4)]
    assert operations == 2 * each[0] + 3 * each[1], "the clips take no gradient"
