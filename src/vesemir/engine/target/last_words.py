"""What a host shows of a failure (``on_failure_show``): asked for once the failure is certain, and only words.

It changes nothing about how the step ended, has no row of its own, and its marker has a name that no recipe's step can
have, so no instance, old or new, ever takes it for a step: the next owner of the target asks again or does without.
"""

from collections.abc import Sequence
from dataclasses import replace

from vesemir.domain.action import CheckAction, RenderedStep
from vesemir.domain.failure import FailedError
from vesemir.domain.hiding import Redactor
from vesemir.domain.step import Command, StepKey, StepStatus
from vesemir.engine.ports.hosts import Host


async def ask_last_words(host: Host, key: StepKey, command: Command, redact: Redactor) -> str:
    """What the command prints, or why that could not be shown. Raises ``LeaseLostError`` only."""
    try:
        result = await host.run(replace(key, step=f"{key.step}.shown"), command)
    except FailedError as error:
        return f"could not be shown: {error.failure.message}"
    truncated = result.output_bytes > len(result.output)
    text = (redact.tail if truncated else redact)(result.output.decode("utf-8", "replace")).strip()
    if result.status is StepStatus.TIMED_OUT:
        ended = f"(it was ended after {command.timeout:g} s)"
        return f"{text}\n{ended}" if text else f"could not be shown: {ended}"
    if text and not result.reason:
        return text  # whatever its exit status is: that of `systemctl status` is the unit's
    why = redact(result.reason) or f"exit status {result.exit_status}, and nothing was printed"
    return f"could not be shown: {why}"


def shown_after_steps(steps: Sequence[RenderedStep]) -> Command | None:
    """What is shown when HAProxy does not see the application UP: that of the last check that has something to show."""
    checks = [step for step in steps if isinstance(step.action, CheckAction) and step.phase != "prepare"]
    shown = [step.on_failure_show for step in checks if step.on_failure_show]
    return shown[-1] if shown else None
