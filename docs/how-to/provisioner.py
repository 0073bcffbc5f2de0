"""A provisioner of licenses. Run it: SECRET=whsec_... python provisioner.py 8099"""

import base64
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

SECRET = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))
lock, newest, licenses = Lock(), {}, {}  # a real one keeps both in its database, changed in one transaction


def is_from_tenantry(headers, body):
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    is_fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return is_fresh and any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split())


def carry_out(order):
    """The status and the answer. Carried out twice, an order changes nothing the second time."""
    scope = (order["tenant_id"], order["product"])
    if order["generation"] < newest.get(scope, 0):
        return 409, {"detail": f"generation {newest[scope]} was here already"}
    newest[scope] = order["generation"]
    if order["direction"] == "remove":
        licenses.pop(scope, None)
        return 200, {}
    licenses[scope] = order["wish"]
    return 200, {"location": f"licenses/{order['tenant_id']}"}


class Provisioner(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status, answer = 401, {"detail": "the signature is wrong or old"}
        if is_from_tenantry(self.headers, body):
            with lock:
                status, answer = carry_out(json.loads(body))
        self.send_response(status)
        self.send_header("content-type", "application/json" if status == 200 else "application/problem+json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provisioner).serve_forever()
