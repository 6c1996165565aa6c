"""``detailscribe export``."""

from pathlib import Path
from typing import Annotated

import typer

from .common import reported


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="URL of the collector, such as http://localhost:4318/v1/traces; by default what"
            " OTEL_EXPORTER_OTLP_ENDPOINT says, or this machine.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="Put before the references of images, such as https://host/runs/fox/.")
    ] = "",
) -> None:
    """Send a run to an OpenTelemetry collector, as spans with OpenInference attributes; images by reference."""
    with reported():
        from ..telemetry import export_run

        typer.echo(f"{export_run(folder, endpoint, images=images)} spans sent")
