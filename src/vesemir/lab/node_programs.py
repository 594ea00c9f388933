"""How each node of a lab with ``--ha`` was started: kept in ``nodes.json``, to start it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vesemir.lab.accounts import Account
from vesemir.lab.documents import write_private
from vesemir.lab.places import Places
from vesemir.lab.roster import RosterProgram


def remember(places: Places, program: RosterProgram) -> None:
    """Keep how a node was started."""
    known = _programs(places)
    stored = {**asdict(program), "argv": list(program.argv), "log": str(program.log), "cwd": str(program.cwd)}
    write_private(places.nodes, json.dumps({**known, program.name: stored}, indent=1))


def _programs(places: Places) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(places.nodes.read_text())
    except FileNotFoundError:
        return {}
    return found


def program_of(places: Places, name: str) -> RosterProgram:
    """How the node of that name was started."""
    return _program(_programs(places)[name])


def _program(stored: Mapping[str, Any]) -> RosterProgram:
    account = stored["account"]
    found = None if account is None else Account(**{**account, "groups": tuple(account["groups"])})
    return RosterProgram(**{**stored, "account": found, "log": Path(stored["log"]), "cwd": Path(stored["cwd"])})
