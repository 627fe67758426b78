"""Verifies callbacks, one JSON line each on stdin: {secret, headers, body}. Prints how many were good."""

import base64
import hashlib
import hmac
import json
import sys
import time

from standardwebhooks import Webhook


def by_hand(secret, headers, parsed):
    stamp = headers["x-webhook-timestamp"]
    if abs(time.time() - int(stamp)) > 300:
        raise ValueError("stale")
    # As handlers behind a JSON body parser do: the body is written anew before it is hashed.
    text = json.dumps(parsed, separators=(",", ":"))
    expected = hmac.new(secret.encode(), f"{stamp}.{text}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest("sha256=" + expected, headers["x-webhook-signature"]):
        raise ValueError("signature differs")


good = 0
failed = False
for line in sys.stdin:
    case = json.loads(line)
    try:
        if case["body"].isascii():
            by_hand(case["secret"], case["headers"], json.loads(case["body"]))
        key = "whsec_" + base64.b64encode(case["secret"].encode()).decode()
        Webhook(key).verify(case["body"], case["headers"])
        good += 1
    except Exception as error:
        failed = True
        print(f"{error!r}: {line}", file=sys.stderr)
print(good)
sys.exit(1 if failed else 0)
