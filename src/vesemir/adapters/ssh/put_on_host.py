"""A program for hosts whose sshd has no usable SFTP: puts one piece of a file, the last one in its place.

Its arguments are the unfinished file, where the piece begins and, with the last piece, the file's own path; the piece
comes in the environment, which other users cannot read, as base64 in parts (one variable holds 128 KiB). A piece may
come twice. Runs under every Python from 3.6 on.
"""
# ruff: noqa: PTH101, PTH104, PTH108 - pathlib is slow to import on a target

import binascii
import contextlib
import os
import sys


def main() -> None:
    part, place = sys.argv[1], int(sys.argv[2])
    names = sorted(name for name in os.environ if name.startswith("VESEMIR_PIECE_"))
    piece = b"".join([binascii.a2b_base64(os.environ[name]) for name in names])
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT, 0o600)
        while piece:
            written = os.pwrite(descriptor, piece, place)
            piece, place = piece[written:], place + written
        os.close(descriptor)
        if len(sys.argv) > 3:  # noqa: PLR2004
            os.chmod(part, 0o600)
            os.rename(part, sys.argv[3])
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        sys.exit(os.strerror(error.errno or 0))


if __name__ == "__main__":
    main()
