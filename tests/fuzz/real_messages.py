"""Fuzzed messages that a broker takes, each with a body that no other has."""

from dataclasses import dataclass, replace
from typing import Any

import pamqp.frame
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from tests.fuzz.mutation import nearly_json
from tests.fuzz.properties import SENDABLE_FRAMES
from tests.fuzz.verdicts import digest

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RealMessage:
    queue: str
    header: bytes
    body: bytes
    digest: bytes

    def forgotten(self) -> "RealMessage":
        """What is needed to find its verdict: tens of thousands are kept."""
        return replace(self, header=b"", body=b"")


def numbered(number: int) -> Json:
    """A deploy event whose id is its number's; all are in one lane, so that they are judged and stored, not run."""
    return {
        "schema": "vesemir.deploy/1",
        "deployment_id": f"fuzz-{number}",
        "application": "fuzz",
        "environment": "production",
        "version": "1.0.0",
        "recipe": "release",
        "targets": {"hosts": ["web1"]},
        "parameters": {"artifact_url": "http://127.0.0.1:9/a.tar.gz", "artifact_sha256": "0" * 64},
        "dry_run": True,
    }


def properties(**given: Any) -> bytes:
    return pamqp.frame.marshal(ContentHeader(body_size=0, properties=Basic.Properties(**given)), 1)


PLACE = "fuzz-0"
CANCELLED_LATER = 50
"""So many messages after a deploy event, one may cancel it."""
_DEPLOYS = nearly_json([numbered(0), {**numbered(0), "requested_by": "me", "team": "x", "rollout": {"concurrency": 2}}])
_CONTROLS = nearly_json(
    [{"schema": "vesemir.control/1", "command": "cancel", "deployment_id": PLACE, "requested_by": "me", "reason": "x"}]
)
_MESSAGES = st.tuples(
    st.sampled_from(["deployments", "deployments", "deployments", "control"]), SENDABLE_FRAMES, _DEPLOYS, _CONTROLS
)


def generated(count: int, *, number: int, first: int) -> list[RealMessage]:
    """So many, the same for the same ``number``. ``first`` is the number of the first one's id."""
    found: list[RealMessage] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(_MESSAGES)
    def make(example: tuple[str, bytes, bytes, bytes]) -> None:
        queue, header, deploy, control = example
        found.append(_unique(queue, header, deploy if queue == "deployments" else control, first + len(found)))

    make()
    while len(found) < count:  # there were not so many different ones
        found.append(_unique("deployments", properties(), b"{}", first + len(found)))
    return found[:count]


def _unique(queue: str, header: bytes, body: bytes, number: int) -> RealMessage:
    """Its number in its id, and behind its body as white space, which JSON does not mind.

    What is to be cancelled was sent before it.
    """
    meant = max(0, number - CANCELLED_LATER) if queue == "control" else number
    mark = b"".join(b" " if bit == "0" else b"\t" for bit in f"{number:020b}")
    marked = body.replace(PLACE.encode(), f"fuzz-{meant}".encode()) + mark
    return RealMessage(queue, header, marked, digest(marked))
