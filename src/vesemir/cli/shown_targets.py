"""Which targets a table lists: with hundreds of them, those that failed must not scroll away. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

from vesemir.engine.ports.views import FailureView

MOST_ROWS = 40
"""What a person looks through, and about what a terminal shows."""


class ListedTarget(Protocol):
    """A target of the record or of a result."""

    @property
    def status(self) -> str: ...

    @property
    def failure(self) -> FailureView | None: ...


T = TypeVar("T", bound=ListedTarget)


def shown_targets(targets: Sequence[T], deployment_id: str, *, everything: bool = False) -> tuple[Sequence[T], str]:
    """The rows, and a line about those that are left out ("": none are).

    Few are listed as they come. Of many, failures are the last rows, one code after the other, and the others are
    counted, unless ``everything`` is asked for.
    """
    if len(targets) <= MOST_ROWS:
        return targets, ""
    codes = {target.failure.code: None for target in targets if target.failure}
    failed = [target for code in codes for target in targets if target.failure and target.failure.code == code]
    others = [target for target in targets if not target.failure]
    if everything:
        return [*others, *failed], ""
    left_out = [*others, *failed[MOST_ROWS:]]
    counted = Counter(target.status.replace("_", " ") for target in left_out)
    if not counted:
        return failed, ""
    words = ", ".join(f"{number} {status}" for status, number in counted.most_common())
    return failed[:MOST_ROWS], f"Not listed: {words}. All: `vesemir status {deployment_id} --all`"
