"""``vesemir lab``: a private installation of everything, to try things out in and to test with."""

import asyncio
import json
import shlex
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vesemir.cli.lab_nodes import node_app, promote
from vesemir.cli.lab_options import DEFAULT_FOLDER, AsJson, Folder, reporting
from vesemir.cli.misspelt import SuggestingGroup
from vesemir.lab.documents import read_lab
from vesemir.lab.ending import Ended
from vesemir.lab.entering import enter
from vesemir.lab.event import DEFAULT_RECIPE, DEFAULT_VERSION, deploy_event
from vesemir.lab.haproxy import reload_balancer
from vesemir.lab.places import LabError, Places
from vesemir.lab.progress import Progress
from vesemir.lab.topology import Wanted
from vesemir.lab.up import Up, bring_up, take_down
from vesemir.lab.watch import all_ended

lab_app = typer.Typer(
    name="lab",
    cls=SuggestingGroup,
    help="A private RabbitMQ, PostgreSQL, HAProxy and boxes with sshd, in one folder and on loopback.",
    no_args_is_help=True,
)

lab_app.add_typer(node_app, name="node")
lab_app.command()(promote)

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended (128 + SIGINT)."""


@lab_app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    boxes: Annotated[int, typer.Option("--boxes", metavar="N", help="How many boxes.")] = 5,
    balancers: Annotated[
        int, typer.Option("--balancers", metavar="N", help="How many HAProxies stand in front of the boxes.")
    ] = 1,
    chef: Annotated[bool, typer.Option("--chef", help="With a Chef server that has a node for each box.")] = False,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="Boxes are machines: containers that boot a systemd. Root only.")
    ] = False,
    bare: Annotated[int, typer.Option("--bare", metavar="N", help="So many machines with nothing on them yet.")] = 0,
    ha: Annotated[
        bool, typer.Option("--ha", help="Three RabbitMQ nodes, and a PostgreSQL with a synchronous standby.")
    ] = False,
    bastion: Annotated[
        bool, typer.Option("--bastion", help="With a jump host, and boxes that are reached only through it.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return when everything answers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the lab; without --detach it stays until Ctrl-C and then takes everything down again."""

    def work() -> int:
        wanted = Wanted(boxes, balancers=balancers, chef=chef, machines=systemd, bare=bare, ha=ha, bastion=bastion)
        return asyncio.run(_up(folder, wanted, detach=detach, as_json=as_json))

    raise typer.Exit(reporting(work))


async def _up(folder: Path, wanted: Wanted, *, detach: bool, as_json: bool) -> int:
    from vesemir.adapters.postgres import migrate  # noqa: PLC0415 -- only `up` needs the driver, which is slow to import

    errors = Console(stderr=True)
    stopping = asyncio.Event()
    with Progress(errors) as progress:
        starting = asyncio.create_task(bring_up(folder, wanted, migrate=migrate, progress=progress))
        _on_signals(partial(_stop, starting, stopping))
        try:
            found = await starting
        except asyncio.CancelledError:
            return INTERRUPTED
    _show(found, folder=folder, as_json=as_json)
    if found.already:
        return 0
    if detach:
        found.roster.disown()
        return 0
    errors.print("Ctrl-C takes it down.", highlight=False, soft_wrap=True)
    await all_ended(found.roster, or_when=stopping)
    _tell(take_down(folder), folder=folder, errors=errors)
    return 0


@lab_app.command()
def demo(folder: Folder = DEFAULT_FOLDER) -> None:
    """Show it all once: a lab, two daemons, a release that arrives, one that fails, and everything down again."""
    raise typer.Exit(reporting(lambda: asyncio.run(_demo(folder))))


async def _demo(folder: Path) -> int:
    """Exit status 0 only if both acts ended as they should."""
    from vesemir.adapters.postgres import migrate  # noqa: PLC0415 -- as in _up
    from vesemir.lab.demo import BOXES, Demo  # noqa: PLC0415 -- only the demo needs it

    errors = Console(stderr=True)
    playing = asyncio.current_task()
    assert playing is not None  # noqa: S101 -- asyncio.run runs this in a task
    _on_signals(playing.cancel)
    found = None
    try:
        with Progress(errors) as progress:
            found = await bring_up(folder, Wanted(BOXES), migrate=migrate, progress=progress)
        if found.already:
            raise LabError(f"a lab is up in {folder} already; the demo wants one of its own: `vesemir lab down` first")
        shown = Demo(Places.of(folder, token=""), found.lab, found.roster, say=print_now)
        try:
            await shown.play()
        except LabError as error:
            raise LabError(f"{error}\n{shown.troubles()}") from error
        print_now("\nBoth acts ended as they should.")
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        if found is not None and not found.already:
            _tell(take_down(folder), folder=folder, errors=errors)
    return 0


def print_now(text: str) -> None:
    """On standard output at once: what is told must stand in its place between the lines on standard error."""
    print(text, flush=True)


def _on_signals(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup(1) asks for SIGHUP to be ignored by ignoring it itself.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)


def _stop(starting: "asyncio.Task[Up]", stopping: asyncio.Event) -> None:
    starting.cancel()
    stopping.set()


@lab_app.command()
def down(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """End every process that the lab has started, whatever state it is in."""

    def work() -> int:
        ended = take_down(folder)
        if as_json:
            print(json.dumps(_ended_json(ended)))
        else:
            _tell(ended, folder=folder, errors=Console(stderr=True))
        return 0

    raise typer.Exit(reporting(work))


@lab_app.command()
def reload(
    folder: Folder = DEFAULT_FOLDER,
    balancer: Annotated[
        str | None, typer.Option("--balancer", metavar="NAME", help="Which HAProxy, if there are several: lb1, lb2, …")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reload HAProxy as in production: its servers' state is written down, then a new process takes over."""

    def work() -> int:
        places = Places.of(folder, token="")
        name = asyncio.run(reload_balancer(places, read_lab(places), balancer))
        print(json.dumps({"reloaded": name}) if as_json else f"HAProxy of {name} was reloaded.")
        return 0

    raise typer.Exit(reporting(work))


@lab_app.command(name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    name: Annotated[str, typer.Argument(metavar="NAME", help="web1, bare1, lb1, …")],
    words: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="A program and its arguments.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Run a command as root on a machine of the lab: vesemir lab exec web1 systemctl status shop."""
    raise typer.Exit(reporting(lambda: enter(Places.of(folder, token="").processes, name, words)))


@lab_app.command()
def env(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Print the variables that `vesemir run` needs: eval "$(vesemir lab env)"."""

    def work() -> int:
        variables: dict[str, str] = read_lab(Places.of(folder, token=""))["env"]
        if as_json:
            print(json.dumps(variables, indent=2))
        else:
            for name, value in variables.items():
                print(f"export {name}={shlex.quote(value)}")
        return 0

    raise typer.Exit(reporting(work))


@lab_app.command()
def event(
    folder: Folder = DEFAULT_FOLDER,
    version: Annotated[str, typer.Option("--version", metavar="V", help="The release to deploy.")] = DEFAULT_VERSION,
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="The recipe.")] = DEFAULT_RECIPE,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the recipe; may be repeated.")
    ] = None,
    chef: Annotated[bool, typer.Option("--chef", help="Hosts by the tags of the lab's Chef server.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Nothing that the release before does not know.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a complete deploy event with a new deployment_id, ready to be published."""

    def work() -> int:
        places = Places.of(folder, token="")
        lab = read_lab(places)
        made = deploy_event(places, lab, version=version, recipe=recipe, given=given or [], chef=chef, plain=plain)
        print(json.dumps(made, indent=None if as_json else 2))
        return 0

    raise typer.Exit(reporting(work))


def _show(found: Up, *, folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.lab, indent=2))
        return
    if found.already:
        print(f"The lab is up already, with {len(found.lab['boxes'])} boxes.")
    for name, value in _summary(found.lab):
        print(f"{name:<12}{value}")
    print(f'Next: eval "$(vesemir lab env --dir {shlex.quote(str(folder))})"')


def _summary(lab: dict[str, Any]) -> list[tuple[str, str]]:
    """Plain lines and no table of rich's: addresses must not be cut to the terminal's width."""
    boxes = lab["boxes"]
    shown = ", ".join(f"{box['name']} {box['address']}:{box['port']}" for box in boxes[:3])
    more = f" and {len(boxes) - 3} more" if len(boxes) > 3 else ""  # noqa: PLR2004 -- what fits on a line
    return [
        ("RabbitMQ", ", ".join(lab.get("amqp_urls", [lab["amqp_url"]]))),
        ("PostgreSQL", lab["postgres_dsn"]),
        ("HAProxy", ", ".join(balancer["http_url"] for balancer in lab["balancers"])),
        *([("Chef", lab["chef"]["url"])] if lab["chef"] else []),
        ("Boxes", shown + more),
        ("Releases", ", ".join(artifact["version"] for artifact in lab["artifacts"])),
    ]


def _tell(ended: Ended | None, *, folder: Path, errors: Console) -> None:
    if ended is None:
        errors.print(f"No lab is up in {folder}: nothing to end.", markup=False, highlight=False, soft_wrap=True)
        return
    names = [entry.name for entry in ended.entries]
    sshds = sum(1 for name in names if name.endswith("/sshd"))
    parts = [f"{entry.name} (process {entry.pid})" for entry in ended.entries if not entry.name.endswith("/sshd")]
    parts += [f"{sshds} sshd"] if sshds else []
    parts += [f"{ended.others} that those had started"] if ended.others else []
    text = ", ".join(parts) or "nothing: all of it had ended already"
    killed = f" ({ended.killed} had to be killed)" if ended.killed else ""
    errors.print(f"Ended {text}{killed}.", markup=False, highlight=False, soft_wrap=True)


def _ended_json(ended: Ended | None) -> dict[str, Any]:
    if ended is None:
        return {"lab": False, "ended": [], "others": 0, "killed": 0}
    entries = [{"name": entry.name, "pid": entry.pid} for entry in ended.entries]
    return {"lab": True, "ended": entries, "others": ended.others, "killed": ended.killed}


if __name__ == "__main__":
    lab_app()
