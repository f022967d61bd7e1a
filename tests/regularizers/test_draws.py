import pytest
import torch

from ssvae.regularizers import Draws, LatentMasking


def test_shares_of_a_batch_are_the_whole_batch():
    def draws(*share: int) -> Draws:
        return Draws(torch.Generator().manual_seed(0), *share)

    x = torch.zeros(2, 3)
    whole = draws().rand((6, 4), torch.zeros(6, 3))
    parts = [draws(i, 3).rand((2, 4), x) for i in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert draws().host is not None


def test_what_no_draw_is_made_from():
    for process, processes in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="below processes, got"):
            Draws(None, process, processes)
    with pytest.raises(ValueError, match="must be a torch.Generator, Draws or None, got int"):
        LatentMasking(3)(torch.zeros(1, 3, 2, 2, 2), generator=0)  # type: ignore[arg-type]
