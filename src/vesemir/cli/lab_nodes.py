"""``vesemir lab node`` and ``vesemir lab promote``: what may happen to the servers of a lab with ``--ha``."""

import asyncio
from typing import Annotated

import typer

from vesemir.cli.lab_options import DEFAULT_FOLDER, AsJson, Folder, reporting
from vesemir.cli.output import print_json
from vesemir.lab.nodes import LabNodes

node_app = typer.Typer(
    help="Stop, start, cut off and join again one server of a lab that was started with --ha.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="rabbit1, rabbit2, rabbit3, postgres1, postgres2.")]


def _done(doing: str, name: str, folder: Folder, *, as_json: bool) -> None:
    words = {"stop": "stopped", "start": "started", "partition": "cut off", "heal": "joined again"}

    def work() -> int:
        nodes = LabNodes.of(folder)
        asyncio.run(getattr(nodes, doing)(name))
        if as_json:
            print_json(dict(nodes.node(name)))
        else:
            print(f"{name} was {words[doing]}.")
        return 0

    raise typer.Exit(reporting(work))


@node_app.command()
def stop(name: Name, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """End a node in good order."""
    _done("stop", name, folder, as_json=as_json)


@node_app.command()
def start(name: Name, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Start it again, also one that was killed, as it was started first."""
    _done("start", name, folder, as_json=as_json)


@node_app.command()
def partition(name: Name, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Cut it off: a RabbitMQ node from the other nodes, a PostgreSQL from everybody (it is frozen)."""
    _done("partition", name, folder, as_json=as_json)


@node_app.command()
def heal(name: Name, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """End `partition`."""
    _done("heal", name, folder, as_json=as_json)


def promote(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Make the standby PostgreSQL of a lab with --ha the primary; the old primary is left as it is."""

    def work() -> int:
        name = asyncio.run(LabNodes.of(folder).promote())
        if as_json:
            print_json({"promoted": name})
        else:
            print(f"{name} is the primary now.")
        return 0

    raise typer.Exit(reporting(work))
