"""Signatures against the vectors that Chef publishes for its own library, byte for byte.

Source: ``spec/mixlib/authentication/mixlib_authentication_spec.rb`` of chef/mixlib-authentication (commit b4272370,
Apache License 2.0): its request, its key, which was made for the specification and opens nothing, and the headers that
it expects.
"""

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from vesemir.adapters.chef.signing import canonical_path, canonical_request, signed_headers, timestamp

MOMENT = datetime(2009, 1, 1, 12, tzinfo=UTC)
REQUEST: dict[str, Any] = {"client_name": "spec-user", "moment": MOMENT}
AUTHORIZATION = [
    "FZOmXAyOBAZQV/uw188iBljBJXOm+m8xQ/8KTGLkgGwZNcRFxk1m953XjE3W",
    "VGy1dFT76KeaNWmPCNtDmprfH2na5UZFtfLIKrPv7xm80V+lzEzTd9WBwsfP",
    "42dZ9N+V9I5SVfcL/lWrrlpdybfceJC5jOcP5tzfJXWUITwb6Z3Erg3DU3Uh",
    "H9h9E0qWlYGqmiNCVrBnpe6Si1gU/Jl+rXlRSNbLJ4GlArAPuL976iTYJTzE",
    "MmbLUIm3JRYi00Yb01IUCCKdI90vUq1HHNtlTEu93YZfQaJwRxXlGkCNwIJe",
    "fy49QzaCIEu1XiOx5Jn+4GmkrZch/RrK9VzQWXgs+w==",
]
KEY_DER = """
MIIEpAIBAAKCAQEA0ueqo76MXuP6XqZBILFziH/9AI7C6PaN5W0dSvkr9yInyGHS
z/IR1+4tqvP2qlfKVKI4CP6BFH251Ft9qMUBuAsnlAVQ1z0exDtIFFOyQCdR7iXm
jBIWMSS4buBwRQXwDK7id1OxtU23qVJv+xwEV0IzaaSJmaGLIbvRBD+qatfUuQJB
MU/04DdJIwvLtZBYdC2219m5dUBQaa4bimL+YN9EcsDzD9h9UxQo5ReK7b3cNMzJ
BKJWLzFBcJuePMzAnLFktr/RufX4wpXe6XJxoVPaHo72GorLkwnQ0HYMTY8rehT4
mDi1FI969LHCFFaFHSAaRnwdXaQkJmSfcxzCYQIDAQABAoIBAQCW3I4sKN5B9jOe
xq/pkeWBq4OvhW8Ys1yW0zFT8t6nHbB1XrwscQygd8gE9BPqj3e0iIEqtdphbPmj
VHqTYbC0FI6QDClifV7noTwTBjeIOlgZ0NSUN0/WgVzIOxUz2mZ2vBZUovKILPqG
TOi7J7RXMoySMdcXpP1f+PgvYNcnKsT72UcWaSXEV8/zo+Zm/qdGPVWwJonri5Mp
DVm5EQSENBiRyt028rU6ElXORNmoQpVjDVqZ1gipzXkifdjGyENw2rt4V/iKYD7V
5iqXOsvP6Cemf4gbrjunAgDG08S00kiUgvVWcdXW+dlsR2nCvH4DOEe3AYYh/aH8
DxEE7FbtAoGBAPcNO8fJ56mNw0ow4Qg38C+Zss/afhBOCfX4O/SZKv/roRn5+gRM
KRJYSVXNnsjPI1plzqR4OCyOrjAhtuvL4a0DinDzf1+fiztyNohwYsW1vYmqn3ti
EN0GhSgE7ppZjqvLQ3f3LUTxynhA0U+k9wflb4irIlViTUlCsOPkrNJDAoGBANqL
Q+vvuGSsmRLU/Cenjy+Mjj6+QENg51dz34o8JKuVKIPKU8pNnyeLa5fat0qD2MHm
OB9opeQOcw0dStodxr6DB3wi83bpjeU6BWUGITNiWEaZEBrQ0aiqNJJKrrHm8fAZ
9o4l4oHc4hI0kYVYYDuxtKuVJrzZiEapTwoOcYiLAoGBAI/EWbeIHZIj9zOjgjEA
LHvm25HtulLOtyk2jd1njQhlHNk7CW2azIPqcLLH99EwCYi/miNH+pijZ2aHGCXb
/bZrSxM0ADmrZKDxdB6uGCyp+GS2sBxjEyEsfCyvwhJ8b3Q100tqwiNO+d5FCglp
HICx2dgUjuRVUliBwOK93nx1AoGAUI8RhIEjOYkeDAESyhNMBr0LGjnLOosX+/as
qiotYkpjWuFULbibOFp+WMW41vDvD9qrSXir3fstkeIAW5KqVkO6mJnRoT3Knnra
zjiKOITCAZQeiaP8BO5o3pxE9TMqb9VCO3ffnPstIoTaN4syPg7tiGo8k1SklVeH
2S8lzq0CgYAKG2fljIYWQvGH628rp4ZcXS4hWmYohOxsnl1YrszbJ+hzR+IQOhGl
YlkUQYXhy9JixmUUKtH+NXkKX7Lyc8XYw5ETr7JBT3ifs+G7HruDjVG78EJVojbd
8uLA+DdQm5mg4vd1GTiSK65q/3EeoBlUaVor3HhLFki+i9qpT8CBsg==
"""


def _key() -> RSAPrivateKey:
    found = load_der_private_key(base64.b64decode(KEY_DER), password=None)
    assert isinstance(found, RSAPrivateKey)
    return found


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return _key()


def test_the_lines_that_are_signed() -> None:
    assert canonical_request("post", "/organizations/clownco", b"Spec Body", **REQUEST) == (
        "Method:POST\n"
        "Path:/organizations/clownco\n"
        "X-Ops-Content-Hash:hDlKNZhIhgso3Fs0S0pZwJ0xyBWtR1RBaeHs1DrzOho=\n"
        "X-Ops-Sign:version=1.3\n"
        "X-Ops-Timestamp:2009-01-01T12:00:00Z\n"
        "X-Ops-UserId:spec-user\n"
        "X-Ops-Server-API-Version:1"
    )


def test_the_headers_are_those_of_the_published_vector(key: RSAPrivateKey) -> None:
    headers = signed_headers(key, "POST", "/organizations/clownco", b"Spec Body", **REQUEST)
    assert headers == {
        "X-Ops-Sign": "algorithm=sha256;version=1.3;",
        "X-Ops-Userid": "spec-user",
        "X-Ops-Timestamp": "2009-01-01T12:00:00Z",
        "X-Ops-Content-Hash": "hDlKNZhIhgso3Fs0S0pZwJ0xyBWtR1RBaeHs1DrzOho=",
        "X-Ops-Server-API-Version": "1",
        **{f"X-Ops-Authorization-{number}": line for number, line in enumerate(AUTHORIZATION, start=1)},
    }


@pytest.mark.parametrize(
    ("given", "path"),
    [("/a/b", "/a/b"), ("/a//b///c", "/a/b/c"), ("/a/b/", "/a/b"), ("/", "/"), ("", "/"), ("//", "/")],
)
def test_the_path_is_signed_without_doubled_and_last_slashes(given: str, path: str) -> None:
    assert canonical_path(given) == path


def test_the_moment_is_told_in_utc_and_whole_seconds() -> None:
    east = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 7, 1, 1, 30, 15, 999999, tzinfo=east)) == "2026-06-30T23:30:15Z"


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["/search/node", "/organizations/shop/search/node"]))
def test_whatever_is_signed_can_be_verified_and_nothing_else(body: bytes, path: str) -> None:
    key = _key()
    headers = signed_headers(key, "POST", path, body, **REQUEST)
    parts = [headers[f"X-Ops-Authorization-{number}"] for number in range(1, 7)]
    assert all(len(part) == 60 for part in parts[:-1])
    signature = base64.b64decode("".join(parts))
    lines = canonical_request("POST", path, body, **REQUEST)
    key.public_key().verify(signature, lines.encode(), PKCS1v15(), hashes.SHA256())
    other = canonical_request("POST", path, body + b"x", **REQUEST)
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, other.encode(), PKCS1v15(), hashes.SHA256())
