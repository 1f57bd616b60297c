"""Asks a server some 40 times a second, over one connection; one request in so many as /tmp/one_in says is /500."""

import http.client
import itertools
import sys
import time
from pathlib import Path

PAUSE_SECONDS = 0.025
ORDER = Path("/tmp/one_in")
"""Written by the tests; absent or 0 for no errors."""

connection = http.client.HTTPConnection(sys.argv[1], timeout=5)
for number in itertools.count():
    time.sleep(PAUSE_SECONDS)
    one_in = int(ORDER.read_text() or 0) if ORDER.exists() else 0
    try:
        connection.request("GET", "/500" if one_in and number % one_in == 0 else "/200")
        connection.getresponse().read()
    except OSError:  # kube-proxy hears of a new Service after the kubelet
        connection.close()
        time.sleep(1)
