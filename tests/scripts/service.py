#!/usr/bin/env python3
"""A service as `test.sh remote-async` sees it: takes a task, and has it end after two looks.

service.py FOLDER BEHAVIOUR: writes its port to FOLDER/port and what it was sent to FOLDER/requests.jsonl.
BEHAVIOUR: completed, failed, refuse (401), or busy (503 once, then completed).
"""

import http.server
import json
import pathlib
import sys

FOLDER, BEHAVIOUR = pathlib.Path(sys.argv[1]), sys.argv[2]
looks = 0
submissions = 0


class Service(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        global submissions
        submissions += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen = {"path": self.path, "headers": dict(self.headers), "body": body}
        with (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps(seen) + "\n")
        if BEHAVIOUR == "refuse":
            self.answer(401, {"error": "No", "code": "unauthorized"})
        elif BEHAVIOUR == "busy" and submissions == 1:
            self.answer(503, {"error": "Later", "code": "unavailable"})
        else:
            self.answer(202, {"taskId": body["taskId"], "status": "pending", "logsPath": "gs://b/sessions/x/"})

    def do_GET(self):
        global looks
        looks += 1
        status = ("pending", "running")[looks - 1] if looks < 3 else "failed" if BEHAVIOUR == "failed" else "completed"
        self.answer(200, {
            "status": status, "exitCode": 1 if status == "failed" else 0, "result": "ready",
            "error": "Claude process exited with code 1" if status == "failed" else None, "callbackUrl": None,
            "callback": {"state": "none"},
        })

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Service)
(FOLDER / "port.new").write_text(str(server.server_port))
(FOLDER / "port.new").rename(FOLDER / "port")
server.serve_forever()
