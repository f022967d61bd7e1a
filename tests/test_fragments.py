from tools.fragments import stale


def test_what_is_generated_is_fresh():
    """``python -m tools.fragments`` writes it anew."""
    assert [str(path) for path, _ in stale()] == []
