"""What the supervisor that is installed on a host may run as root: what a file of root's says, and nothing else.

A supervisor under sudo does what its standard input asks for, so a sudo rule for it gives root away. This file takes
most of that back: one rule a line, compared exactly. Scripts get their parameters as variables, and no others than
those of recipes, and the root folder to work in, so that nothing of the login user's (LD_PRELOAD, PATH, a file in its
home) makes a permitted program do something else.
"""

import os

from vesemir.adapters.ssh.onhost.step import DEFAULT_PATH, Order

RULES = "/etc/vesemir/supervisor.rules"
SCRIPT = [b"sh", b"-eu", b"-c"]
"""How a recipe's script arrives: then its text, and ``sh`` as its name."""
HARMLESS = (b"VESEMIR_", b"PARAM_", b"VAR_")
SETTINGS = (b"LC_ALL", b"LANG", b"DEBIAN_FRONTEND")


def refusal(order: Order, path: str) -> str:
    """Why this step may not be run as root, or nothing. It names the line that would allow it."""
    try:
        rules = read_rules(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return f"{path}: {reason}; the supervisor installed on this host runs nothing as root without it"
    if b"any" in rules:
        return ""
    problem = what_no_rule_allows(order)
    wanted = rule_of(order.words)
    if problem or wanted not in rules:
        return "{} {}".format(path, problem or "does not have the line: " + wanted.decode("ascii"))
    order.path, order.cwd = DEFAULT_PATH, b"/"
    return ""


def what_no_rule_allows(order: Order) -> str:
    """What would let the login user decide more than a line says, or nothing."""
    for field in order.environment:
        name = field.partition(b"=")[0]
        if not name.startswith(HARMLESS) and name not in SETTINGS:
            return "does not allow the variable {} for root".format(name.decode("ascii", "replace"))
    if order.cwd:
        return "cannot allow a working directory for root"
    if not rule_of(order.words):
        return "cannot allow this for root: neither a script nor a program by its absolute path"
    return ""


def rule_of(words: "list[bytes]") -> bytes:
    """The line that allows exactly this; empty if there can be none."""
    if words[:3] == SCRIPT and len(words) == 5 and words[4] == b"sh":  # noqa: PLR2004 - SCRIPT, the text, its name
        import hashlib  # noqa: PLC0415 -- costs milliseconds, and is needed here only

        return b"script " + hashlib.sha256(words[3]).hexdigest().encode("ascii")
    plain = all(word and all(33 <= byte <= 126 for byte in word) and b"#" not in word for word in words)  # noqa: PLR2004
    if words[0].startswith(b"/") and plain:
        return b"command " + b" ".join(words)
    return b""


def read_rules(path: str) -> "set[bytes]":
    """The lines without comments. Raises ``ValueError`` when somebody else than root could have written them."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        about = os.fstat(file.fileno())
        if about.st_uid != 0 or about.st_mode & 0o022:
            raise ValueError("it must be root's, and nobody else may write to it")
        lines = [line.partition(b"#")[0].split() for line in file]
    return {b" ".join(words) for words in lines if words}
