"""Trains the embedded models from nothing: ``python -m training --out FOLDER``.

Killed and started again with the same folder, it goes on where it stopped. ``--out`` then holds what
ships in ``tools/world/weights``, beside ``checkpoints``.
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
"""Trainer and minutes, in the order in which they need each other."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and finished weights")
    parser.add_argument("--only", choices=STAGES, help="one stage instead of all")
    parser.add_argument(
        "--minutes", type=float, help="length of each stage; by default about as long as the shipped weights took"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the processor")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name, (trainer, minutes) in STAGES.items():
        if chosen.only in (None, name):
            trainer(chosen.out, minutes if chosen.minutes is None else chosen.minutes)


if __name__ == "__main__":
    main()
