"""``detailscribe graph``."""

import typer


def command() -> None:
    """Print the state machine as a Mermaid drawing."""
    from ..graph.graph import build_graph

    typer.echo(build_graph().get_graph().draw_mermaid())
