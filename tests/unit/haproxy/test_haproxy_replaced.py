"""A reload in mid-deployment: the old process still takes a connection, and has disabled its proxies."""

from typing import Any, cast

from vesemir.adapters.haproxy.boxes import HaproxyBox
from vesemir.engine.ports.load_balancer import AdminState


class Replaced:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, line: str) -> str:
        self.asked.append(line)
        return "Proxy is disabled.\n\n" if len(self.asked) < 3 else "\n"


async def test_a_process_on_its_way_out_is_asked_again_until_the_new_one_answers() -> None:
    line = Replaced()
    await HaproxyBox("lb1", cast("Any", line)).set_state("shop", "web1", AdminState.READY)
    assert line.asked == ["set server shop/web1 state ready"] * 3
