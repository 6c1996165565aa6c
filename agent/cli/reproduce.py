"""``detailscribe reproduce``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import reported

if TYPE_CHECKING:
    from ..runs.reproduce import Reproduction


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    image: Annotated[str, typer.Argument(help="Id of an image, such as 01-00.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the new picture and its latents. By default nothing is kept.")
    ] = None,
) -> None:
    """Make an image of a run again from its record, and tell how it differs from what it was."""
    from ..runs.reproduce import reproduce

    with reported():
        again = reproduce(folder, image, out=out)
        for name, text in _lines(again):
            typer.echo(f"{name:<8} {text}")


def _lines(again: "Reproduction") -> list[tuple[str, str]]:
    apart = again.difference
    pixels = "identical" if apart.identical else f"differ by at most {apart.largest} of 255, PSNR {apart.psnr:.1f} dB"
    model = again.model_now if again.model_now == again.model_then else f"{again.model_now}, then {again.model_then}"
    lines = [("image", again.image), ("made", " ".join(again.made)), ("model", model), ("pixels", pixels)]
    return lines if again.path is None else [*lines, ("picture", str(again.path))]
