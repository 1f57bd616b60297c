"""A process whose wall clock can be stepped, on a machine whose clock stays as it is."""

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_steps.c")


class SteppedClock:
    """environment: for the process. The library is compiled into the folder."""

    def __init__(self, folder: Path) -> None:
        library, self._offset = folder / "clock_steps.so", folder / "offset"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        self.seconds = 0
        self.step(0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_STEPS_FILE": str(self._offset)}

    def step(self, seconds: int) -> None:
        """The clock goes that much forward, or back."""
        self.seconds += seconds
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:  # mapped: never made anew
            file.write(struct.pack("=q", self.seconds))
