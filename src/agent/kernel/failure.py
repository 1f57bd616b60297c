"""How the loader child says that something did not work."""

from typing import Any


class Failure(Exception):
    """detail: more than the sentence, e.g. the verifier's log; it goes into the answer too. of: headers or
    host, where it is not the text's failure."""

    def __init__(self, text: str, **detail: Any) -> None:
        super().__init__(text)
        self.answer = {"error": text, **detail}
