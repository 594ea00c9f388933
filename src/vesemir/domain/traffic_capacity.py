"""How many servers of a backend count, are available, and must stay so; pure (contract section 2, ``min_available``).

A backend is seen as one view for each load balancer that has it. A server counts once, however many views have it.
"""

from collections.abc import Iterable, Mapping, Sequence

from vesemir.domain.share import Share
from vesemir.domain.traffic import ServerState

View = Mapping[str, ServerState]


def available_besides(views: Iterable[View], out: Iterable[str]) -> int:
    """How many servers, besides those named, are available in every view: one that a view has not is not."""
    seen = list(views)
    names = {name for view in seen for name in view} - set(out)
    return sum(all(name in view and view[name].is_available for view in seen) for name in names)


def counted(views: Iterable[View]) -> int:
    """How many servers the backend has: empty slots of a ``server-template`` are none."""
    return len({name for view in views for name, state in view.items() if not state.is_empty_slot})


def needed_besides(views: Sequence[View], share: Share | None) -> int:
    """How many must stay UP besides the one taken out: of all the backend's servers, rounded up.

    None: the request does not say. Then the last server of several is not taken out.
    """
    servers = counted(views)
    if share is None:
        return 1 if servers > 1 else 0
    return share.up(servers)


def impossible(views: Sequence[View], share: Share | None, backend: str) -> str:
    """Why so many can never stay UP while one is out, with the figures; empty where they can."""
    servers, needed = counted(views), needed_besides(views, share)
    if not needed or needed <= servers - 1:
        return ""
    return (
        f"min_available {share} asks for {needed} servers of backend {backend} besides the one that is taken out, and "
        f"the backend has {_figures(views)}: ask for at most {max(0, servers - 1)}"
    )


def shortage(views: Sequence[View], share: Share | None, *, server: str, backend: str) -> str:
    """Why it may not be taken out now; empty where it may. What is not available itself takes nothing away."""
    if not any(server in view and view[server].is_available for view in views):
        return ""
    needed, there = needed_besides(views, share), available_besides(views, [server])
    if there >= needed:
        return ""
    asked = "is 1 by default" if share is None else share
    return (
        f"only {there} servers of backend {backend} besides {server} are UP on every HAProxy, and {needed} must stay "
        f"(min_available {asked}; the backend has {_figures(views)}): bring others up or ask for less"
    )


def _figures(views: Sequence[View]) -> str:
    """How many count, of how many, and why the others do not."""
    servers, listed = counted(views), len({name for view in views for name in view})
    if servers == listed:
        return f"{servers}"
    return f"{servers} that count, of {listed}: {listed - servers} are empty slots, without an address"
