import pytest
import torch

from ssvae.analysis.semantics import (
    labels_of,
    linear_probing,
    neighbour_consistency,
    of_subject,
    semantics_of,
)
from ssvae.data.world import VOCABULARY, World


def clusters(noise: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """240 vectors about four centres; one label names the centre, the other nothing."""
    torch.manual_seed(0)
    label = torch.arange(240) % 4
    centres = 5 * torch.eye(4, 30)
    return centres[label] + noise * torch.randn(240, 30), {
        "centre": label,
        "nothing": torch.randint(0, 3, (240,)),
    }


def test_neighbours_of_one_centre_agree():
    features, labels = clusters(0.1)
    found = neighbour_consistency(features, labels)
    assert found["centre"] == 1
    assert found["nothing"] == pytest.approx(1 / 3, abs=0.05)
    lost = neighbour_consistency(*clusters(100.0))
    assert lost["centre"] == pytest.approx(1 / 4, abs=0.05)


def test_neighbours_by_sorting():
    torch.manual_seed(0)
    features, label = torch.randn(15, 6, dtype=torch.float64), torch.arange(15) % 3
    centred = features - features.mean(0)
    shares = []
    for i in range(15):
        near = sorted(
            (j for j in range(15) if j != i),
            key=lambda j: (
                -float(torch.nn.functional.cosine_similarity(centred[i], centred[j], dim=0))
            ),
        )[:4]
        shares.append(sum(label[j] == label[i] for j in near) / 4)
    found = neighbour_consistency(features, {"kind": label}, neighbours=4)["kind"]
    assert found == pytest.approx(float(sum(shares)) / 15)
    with pytest.raises(ValueError, match="10 neighbours take more clips than that, got 10"):
        neighbour_consistency(features[:10], {"kind": label[:10]})


def test_a_linear_classifier():
    for noise, expected in ((0.1, 1.0), (200.0, 0.25)):
        features, labels = clusters(noise)
        found = linear_probing(features, labels)
        assert found["centre"] == pytest.approx(expected, abs=0.08)
        assert found["nothing"] == pytest.approx(1 / 3, abs=0.12)


def test_what_captions_say():
    captions = World().batch(range(30)).captions
    labels = labels_of(captions, VOCABULARY)
    assert labels is not None
    assert list(labels) == ["shape", "colour", "direction", "texture"]
    free = labels_of(["a cat", "a dog", "a cat"])
    assert free is not None
    assert free["caption"].tolist() == [0, 1, 0]
    assert labels_of(["a cat", "a dog"]) is None
    assert labels_of(["", ""]) is None


def test_semantics_of_latents():
    features, labels = clusters(0.1)
    four = features[:, :4].view(240, 4, 1, 1, 1)  # standardised, the others would count as much
    found = semantics_of(four.expand(-1, -1, 2, 2, 2), labels)
    assert found is not None
    assert found.neighbours["centre"] == 1
    assert found.chance["centre"] == pytest.approx(59 / 239)
    assert found.mean == pytest.approx((1 + found.neighbours["nothing"]) / 2)
    assert semantics_of(torch.randn(10, 2, 1, 2, 2), labels) is None


def test_means_over_the_subject():
    z = torch.arange(2 * 3 * 2 * 4, dtype=torch.float64).view(1, 2, 3, 2, 4)
    masks = torch.zeros(1, 3, 2, 4, dtype=torch.bool)
    masks[0, 0, 0, :2] = True
    masks[0, 1, 1, 3] = True
    expected = torch.stack(
        [z[0, :, 0, 0, :2].mean(1), z[0, :, 1, 1, 3], torch.zeros(2, dtype=torch.float64)], 1
    )
    assert of_subject(z, masks)[0].equal(expected.flatten())
