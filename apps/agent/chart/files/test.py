"""`helm test`: does an agent answer, and does at least one of its collectors count?"""

import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

SECONDS = 60.0
"""For a Service whose endpoints are new."""

UP = "bpfleet_collector_up{"


def page() -> str:
    context, headers = None, {}
    if os.environ["URL"].startswith("https:"):
        context = ssl.create_default_context(cafile=os.environ.get("CA_FILE"))
        context.check_hostname = False  # the certificate has the name that Prometheus was told, not the Service's
        if "CA_FILE" not in os.environ:
            context.verify_mode = ssl.CERT_NONE
    if "TOKEN_FILE" in os.environ:
        headers["Authorization"] = f"Bearer {Path(os.environ['TOKEN_FILE']).read_text().strip()}"
    request = urllib.request.Request(os.environ["URL"], headers=headers)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return answer.read().decode()


def problem() -> str:
    """Empty when all is well."""
    try:
        lines = [line for line in page().splitlines() if line.startswith(UP)]
    except OSError as error:
        return f"no agent answers at {os.environ['URL']}: {error}"
    if not any(line.endswith((" 1", " 1.0")) for line in lines):
        return f"no collector counts: {lines or 'bpfleet_collector_up is not there'}"
    return ""


def main() -> int:
    end = time.monotonic() + SECONDS
    while said := problem():
        if time.monotonic() > end:
            print(said, file=sys.stderr)
            return 1
        time.sleep(1)
    print("an agent answers, and counts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
