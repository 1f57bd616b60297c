"""Label values as text that no parser trips over.

https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/:
values are UTF-8; backslash, double quote and line feed are escaped. One value that is not UTF-8 costs the whole scrape.
"""

from collections.abc import Iterable
from hashlib import blake2s

MAX_LENGTH = 256
"""Characters of a value: a Kubernetes name has at most 253; a cgroup's path may have 4,096, on all of its series."""

DIGEST_BYTES = 6
"""Of the value's hash, so that two values that are cut or repaired stay two."""

ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def clean(value: str) -> str:
    """The value as it is exposed: bytes that are not UTF-8 (Python holds them as surrogates) shown as \\udcxx, and
    what is too long is cut. Both end in a hash of the original."""
    if value.isascii() and len(value) <= MAX_LENGTH:
        return value
    whole = value.encode("utf-8", "surrogatepass")
    shown = value.encode("utf-8", "backslashreplace").decode()
    if shown == value and len(value) <= MAX_LENGTH:
        return value
    digest = "~" + blake2s(whole, digest_size=DIGEST_BYTES).hexdigest()
    return shown[: MAX_LENGTH - len(digest)] + digest


def escape(value: str) -> str:
    return value.translate(ESCAPES)


def safe(value: str) -> str:
    """Clean and escaped."""
    return escape(clean(value))


def pairs(names: Iterable[str], values: Iterable[str]) -> str:
    """`a="x",b="y"` of clean values."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True))
