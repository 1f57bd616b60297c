"""One cache of compiled programs for the agents of all tests of this working tree: what is tested there is the rest.

Not in the tree itself: the second run finds it warm. test_kept_units, test_units and test_door_faults compile for real.
"""

import hashlib
from functools import cache
from pathlib import Path

from tests.support import debians

REPOSITORY = Path(__file__).parents[2]


@cache
def programs() -> Path:
    """A directory for BPFLEET_KERNEL_CACHE."""
    tree = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:12]
    folder = debians.cache() / f"{tree}-programs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
