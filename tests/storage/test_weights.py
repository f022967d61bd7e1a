import pytest
import torch

from ssvae.models.official import load_official
from ssvae.storage.weights import load_tensors


class Foreign:
    pass


def test_what_is_no_weights_is_told_in_our_words(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(2), "n": [1, "b"]}, path)
    assert load_tensors(path)["n"] == [1, "b"]
    whole = path.read_bytes()
    for content, reason in (
        (whole[:200], "damaged"),
        (b"Dear all", "damaged"),
        (b"", "damaged"),
        (whole.replace(b"PK", b"KP"), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"does not load as weights: it is {reason}") as told:
            load_tensors(path)
        assert "weights_only" not in str(told.value)
    torch.save({"a": Foreign()}, path)
    with pytest.raises(ValueError, match="which loading would run as code") as told:
        load_tensors(path)
    assert "weights_only" not in str(told.value)


def test_a_key_that_is_no_name(tmp_path):
    torch.save({"state_dict": {3: torch.ones(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="has the key 3, which is no name"):
        load_official(tmp_path / "a.ckpt")
