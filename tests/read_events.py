"""Reads messages, one in each line, with the SDK of CloudEvents for Python of release 1, and prints the event of each.

A program of its own: the tests' own environment has release 2.
"""

import json
import sys

if __name__ == "__main__":
    from cloudevents.http import from_http  # in the environment of the older release only

    for line in sys.stdin:
        message = json.loads(line)
        event = from_http(message["headers"], message["body"].encode())
        print(json.dumps({**event.get_attributes(), "data": event.get_data()}))
