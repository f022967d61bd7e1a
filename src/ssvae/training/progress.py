"""A progress bar for runs that are started from Python: in a terminal, a log or a notebook."""

from tqdm.auto import tqdm

from ssvae.training.run_log import OnStep

SHOWN = ("loss", "clips_per_second")


def progress_bar(steps: int) -> OnStep:
    """What draws a bar of a run of so many steps: what a run's ``on_step`` is where none is given.

    A run that goes on begins where it was; the bar shows the loss and the clips a second.
    """
    bar = tqdm(total=steps, unit="step", mininterval=1)

    def on_step(step: int, metrics: dict[str, float]) -> None:
        if bar.n == 0:
            bar.initial = bar.n = step - 1
        bar.set_postfix({n: metrics[n] for n in SHOWN if n in metrics}, refresh=False)
        bar.update(step - bar.n)
        if step == steps:
            bar.close()

    return on_step


def silent(step: int, metrics: dict[str, float]) -> None:
    """Shows nothing, as a run's ``on_step``."""
