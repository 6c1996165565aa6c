"""Trains the embedded models from scratch: ``python -m training --out FOLDER``.

If it is killed, start it again with the same folder to continue. ``--out`` then contains the files of
``tools/world/weights``, and ``checkpoints``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from .autoencoder import train_autoencoder, train_decoder
from .critics import train_critic, train_judge
from .denoiser import train_denoiser

STAGES: dict[str, tuple[Callable[[Path, float], None], float]] = {
    "autoencoder": (train_autoencoder, 5),
    "decoder": (train_decoder, 11),
    "critic": (train_critic, 4.5),
    "judge": (train_judge, 40),
    "denoiser": (train_denoiser, 120),
}
"""Trainer and minutes of each stage, in the order of their dependencies."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and finished weights")
    parser.add_argument("--only", choices=STAGES, help="one stage instead of all")
    parser.add_argument(
        "--minutes", type=float, help="length of each stage; by default about as long as the shipped weights took"
    )
    parser.add_argument("--threads", type=int, default=2, help="number of CPU threads")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name, (trainer, minutes) in STAGES.items():
        if chosen.only in (None, name):
            trainer(chosen.out, minutes if chosen.minutes is None else chosen.minutes)


if __name__ == "__main__":
    main()
