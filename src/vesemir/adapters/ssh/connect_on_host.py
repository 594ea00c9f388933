"""A program for hosts whose sshd forwards no connection: opens one there, sends what it was given, prints the answer.

Its arguments are host, port, seconds and the most bytes to print. Whether it could connect is the first byte: ``+``, or
``-`` and the reason. Runs under every Python from 3.6 on.
"""

import binascii
import os
import socket
import sys

LATE_STATUS = 124
"""Exit status when nothing came in time, as that of timeout(1)."""


def main() -> None:
    host, port, seconds, most = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    out = sys.stdout.buffer
    try:
        plug = socket.create_connection((host, port), seconds)
    except socket.timeout:  # noqa: UP041 - TimeoutError from Python 3.10 on only
        sys.exit(LATE_STATUS)
    except OSError as error:
        out.write(b"-" + str(error.strerror or error).encode("utf-8", "replace"))
        return
    out.write(b"+")
    request = binascii.a2b_base64(os.environ.get("VESEMIR_REQUEST", ""))
    if not request:
        return
    try:
        plug.sendall(request)
        while most > 0:
            piece = plug.recv(min(most, 65536))
            if not piece:
                break
            most -= len(piece)
            out.write(piece)
            out.flush()
    except socket.timeout:  # noqa: UP041 - as above
        sys.exit(LATE_STATUS)
    except OSError:
        pass  # what came is what there is: an answer that is not whole is seen by the one that asked


if __name__ == "__main__":
    main()
