"""Makes the one program that is sent to a target out of ``onhost``, and the exec request that carries it.

An exec request holds about 128 KiB (the kernel's limit of one argument), so the program travels inside it: standard
input may be read by a login file. Docstrings, annotations and the modules' imports of each other are left out, which
also makes it Python 3.6.

It travels twice: as source, and compiled by this instance's Python. A host of the same Python (by the magic number of
its bytecode) takes that one, which saves it the 9 ms that compiling costs, nearly half of the supervisor's start.
Nothing is left on the host for it.

A host may have the program as a file instead, which is root's (``installed_program``, docs/install.md): then the
request names that file and what protocol this side speaks.
"""

import ast
import binascii
import functools
import marshal
import secrets
import shlex
import zlib
from importlib import resources
from importlib.util import MAGIC_NUMBER
from pathlib import PurePosixPath
from types import CodeType

from vesemir.adapters.ssh.onhost.wire import PROTOCOL

PARTS = ("wire", "kernel", "tree", "records", "step", "rules", "nested", "claiming", "session")
"""In this order: each uses only what is in those before it."""

_LOADER = (
    "import sys;sys.version_info<(3,6)and sys.exit('Python 3.6 or later is needed');"
    "import zlib,binascii,marshal,_frozen_importlib_external as F;"
    'P="{program}";C="{compiled}";U=lambda T:zlib.decompress(binascii.a2b_base64(T));'
    'exec(marshal.loads(U(C))if binascii.hexlify(F.MAGIC_NUMBER)==b"{magic}"else U(P))'
)
_END = "PROGRAM = globals().get('P', '')\nmain()\n"
_INSTALLED_START = """#!/usr/bin/python3 -IS
# Vesemir's supervisor, to be installed on hosts: root's, and writable by nobody else. docs/install.md tells what for.
"""
_INSTALLED_END = "INSTALLED = __file__\nmain()\n"


class _Stripped(ast.NodeTransformer):
    """Without what only people and type checkers need."""

    def _without_docstring(self, body: list[ast.stmt]) -> list[ast.stmt]:
        kept = [
            statement
            for statement in body
            if not (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            )
        ]
        return kept or [ast.Pass()]

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        node.body = self._without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.body = self._without_docstring(node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        node.body = self._without_docstring(node.body)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node)

    def visit_Import(self, node: ast.Import) -> ast.Import:
        """``signal`` loads ``enum``, 5 ms; the C module under it has all that is needed."""
        for name in node.names:
            if name.name == "signal":
                name.name, name.asname = "_signal", "signal"
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | None:
        ours = node.module is not None and node.module.startswith(("vesemir.", "collections.abc"))
        return None if ours else node


def program() -> str:
    """The supervisor's source as it is sent."""
    return _source() + _END


def installed_program() -> str:
    """The same as a file for hosts. Runs as root only what a file of root's allows (``onhost/rules.py``)."""
    return _INSTALLED_START + _source() + _INSTALLED_END


@functools.cache
def _source() -> str:
    folder = resources.files("vesemir.adapters.ssh") / "onhost"
    body: list[ast.stmt] = []
    for part in PARTS:
        tree = ast.parse((folder / f"{part}.py").read_text(encoding="utf-8"))
        body += _Stripped().visit(tree).body
    whole = ast.unparse(ast.fix_missing_locations(ast.Module(body=body, type_ignores=[])))
    ast.parse(whole, feature_version=(3, 6))
    return whole + "\n"


def _packed(content: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(content, 9), newline=False).decode("ascii")


def _bare(code: CodeType) -> CodeType:
    """Without its table of lines, a third of it; a traceback still names the functions."""
    constants = tuple(_bare(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_linetable=b"", co_consts=constants)


@functools.cache
def _loader() -> str:
    """As the login shell gets it: quoted."""
    code = marshal.dumps(_bare(compile(program(), "<vesemir supervisor>", "exec")))
    magic = MAGIC_NUMBER.hex()
    return shlex.quote(_LOADER.format(program=_packed(program().encode()), compiled=_packed(code), magic=magic))


def new_nonce() -> bytes:
    return secrets.token_hex(16).encode("ascii")


def exec_request(python: str, nonce: bytes, *, installed: PurePosixPath | None = None) -> str:
    """``exec python3 -I -S -c '…' NONCE``: one line for the login shell, whichever that is."""
    start = f"exec {shlex.quote(python)} -I -S"
    if installed is not None:
        return f"{start} {shlex.quote(str(installed))} {nonce.decode('ascii')} {PROTOCOL}"
    return f"{start} -c {_loader()} {nonce.decode('ascii')}"
