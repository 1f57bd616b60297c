"""Asks for /200 of a server so often, over one connection: teller.py SERVER COUNT."""

import contextlib
import http.client
import sys
import time

connection = http.client.HTTPConnection(sys.argv[1], timeout=5)
while not connection.sock:
    with contextlib.suppress(ConnectionError):  # kube-proxy hears of a new Service after the kubelet
        connection.connect()
        break
    time.sleep(0.5)
for _ in range(int(sys.argv[2])):
    connection.request("GET", "/200")
    assert connection.getresponse().read() == b""
