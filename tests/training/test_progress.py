from ssvae.training import progress_bar


def test_a_bar_counts_the_steps_of_a_run_that_goes_on(capsys):
    on_step = progress_bar(5)
    for step in (3, 4, 5):
        on_step(step, {"loss": 0.25, "other": 1.0})
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "loss=0.25" in shown
    assert "other" not in shown
