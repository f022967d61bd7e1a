"""``python -m ssvae``, and what launchers of many processes call: ``torchrun -m ssvae train
...``.
"""

from ssvae.cli import main

if __name__ == "__main__":
    main()
