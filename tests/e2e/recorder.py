"""A proxy in front of a Data API endpoint that remembers every call.

It forwards what it gets, byte for byte. With `lists=True` it answers ListStatements itself, from the
submits that it has seen executed: for an emulator that has no such operation. Standard library only.
"""

import collections
import http.client
import http.server
import json
import threading
import time
import urllib.parse

Call = collections.namedtuple("Call", "at operation request status answer")


class Recorder:
    def __init__(self, upstream, lists=False):
        self.upstream = urllib.parse.urlsplit(upstream)
        self.lists = lists
        self.calls = []
        recorder = self

        class Door(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, answer = recorder.handle(self.path, self.headers, body)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def handle(self, path, headers, body):
        operation = headers.get("X-Amz-Target", "").rpartition(".")[2]
        request = json.loads(body or b"{}")
        at = time.monotonic()
        if self.lists and operation == "ListStatements":
            answer = json.dumps({"Statements": self._listed(request)}).encode()
            status, sent = 200, [("Content-Type", "application/x-amz-json-1.1")]
        else:
            status, sent, answer = self._forward(path, headers, body)
        self.calls.append(Call(at, operation, request, status, answer))
        return status, sent, answer

    def _forward(self, path, headers, body):
        upstream = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=60)
        try:
            passed = {k: v for k, v in headers.items() if k.lower() not in ("connection", "content-length")}
            upstream.request("POST", path, body, passed)
            answer = upstream.getresponse()
            kept = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server")
            ]
            return answer.status, kept, answer.read()
        finally:
            upstream.close()

    def _listed(self, request):
        """Everything submitted so far: the emulators that need this never finish a statement."""
        if request.get("Status") not in ("STARTED", "ALL"):
            return []
        prefix = request.get("StatementName", "")
        return [
            {
                "Id": json.loads(call.answer)["Id"],
                "StatementName": call.request["StatementName"],
                "Status": "STARTED",
                "CreatedAt": time.time(),
                "UpdatedAt": time.time(),
                "QueryString": call.request["Sql"],
            }
            for call in self.submits()
            if call.status == 200 and call.request.get("StatementName", "").startswith(prefix)
        ]

    def submits(self):
        return self.of("ExecuteStatement")

    def of(self, operation):
        return [call for call in list(self.calls) if call.operation == operation]
