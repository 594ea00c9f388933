"""RabbitMQ's users changed in one call of ``rabbitmqctl``, which takes seconds to start."""

import shlex
from collections.abc import Callable, Mapping


def users_expression(*commands: str) -> str:
    """For ``rabbitmqctl eval``: what it does for ``add_user NAME PASSWORD``, ``set_permissions NAME …`` and so on."""
    calls = (_ERLANG[words[0]](*words[1:]) for words in map(shlex.split, commands))
    return f"{', '.join(calls)}."


def _called(function: str, *words: str) -> str:
    binaries = (f'<<"{word}">>'.replace("\\", "\\\\") for word in (*words, "test"))
    return f"rabbit_auth_backend_internal:{function}({', '.join(binaries)})"


_ERLANG: Mapping[str, Callable[..., str]] = {
    "add_user": lambda user, password: _called("add_user", user, password),
    "delete_user": lambda user: _called("delete_user", user),
    "set_permissions": lambda user, *patterns: _called("set_permissions", user, "/", *patterns),
    "set_topic_permissions": lambda user, *rest: _called("set_topic_permissions", user, "/", *rest),
}
