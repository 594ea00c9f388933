"""Who may cancel, pause, resume, approve, lock and unlock: one ``[[control]]`` of the policy. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from vesemir.domain.control import CommandName, ControlledDeployment, ControlledLane
from vesemir.domain.identity import Asker, IdentityNames, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import EVERYWHERE, PermissionScope
from vesemir.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class ControlPermission:
    """A ``[[control]]``. What is None is not asked about; what is not, must all fit.

    ``not_requester``: an approval by whoever asked for the deployment does not count, nor one where either is unknown.
    It is about approvals alone: a requester may cancel what is its own, and resume what it has paused itself.
    """

    name: str
    scope: PermissionScope = EVERYWHERE
    commands: tuple[CommandName, ...] | None = None
    identities: IdentityNames | None = None
    groups: Names | None = None
    not_requester: bool = False
    contact: str = ""

    def covers(self, command: CommandName, about: ControlledDeployment | ControlledLane) -> bool:
        return self.scope.covers(about) and (self.commands is None or command in self.commands)

    def problems(
        self, command: CommandName, about: ControlledDeployment | ControlledLane, asker: Asker, persons: Persons
    ) -> Iterator[Problem]:
        """Why this does not permit the command, which it covers. ``asker`` as ``persons`` recognise him."""
        if self.identities is not None and not self.identities.has(asker):
            yield Problem("user_id", f"must be one of: {self.identities}")
        if self.groups is not None and not any(map(self.groups.has, asker.groups)):
            yield Problem("groups", f"must have one of: {self.groups}")
        if isinstance(about, ControlledDeployment) and command == "resume" and about.awaits_approval:
            yield from _own_approval(about, asker, persons) if self.not_requester else ()


def _own_approval(deployment: ControlledDeployment, asker: Asker, persons: Persons) -> Iterator[Problem]:
    if asker.identity is None:
        yield Problem("user_id", "must be there: who approves must be known (not_requester)")
    elif deployment.requester is None:
        yield Problem(
            "user_id", "of the deploy event must be there: nobody knows who asked for the deployment (not_requester)"
        )
    elif persons.same(asker.identity, deployment.requester):
        yield Problem("user_id", "must be another than that of who asked for the deployment (not_requester)")
