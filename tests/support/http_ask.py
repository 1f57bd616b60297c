"""A client as an application has one (http.client): asks in turn for every method and status, some of them with a body.

Run as a script inside a cgroup and namespace; prints how many answers it has read, by method and status.
"""

import argparse
import collections
import http.client
import json
import sys

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
STATUSES = (200, 201, 302, 404, 418, 500, 503)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--requests", type=int, default=101)
    parser.add_argument("--close", action="store_true", help="one connection a request")
    arguments = parser.parse_args()
    answers: collections.Counter[str] = collections.Counter()
    connection = http.client.HTTPConnection(arguments.host, arguments.port, timeout=20)
    for number in range(arguments.requests):
        method, status = METHODS[number % len(METHODS)], STATUSES[number // len(METHODS) % len(STATUSES)]
        body = b"x" * (number * 97) if method in ("POST", "PUT", "PATCH") else None
        connection.request(method, f"/{status}", body, {"Connection": "close"} if arguments.close else {})
        answer = connection.getresponse()
        answer.read()
        answers[f"{method} {answer.status}"] += 1
    connection.close()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
