"""A web application behind nginx: thinks for a while, then answers.

/app/?ms=MS&octets=N answers N octets after MS milliseconds; with &ticks=T in T parts with that
pause before each. A request body is read first.
"""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = {k: int(v[0]) for k, v in parse_qs(urlsplit(self.path).query).items()}
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ticks, octets = asked.get("ticks", 1), asked.get("octets", 500)
        self.send_response(200)
        self.send_header("Content-Length", str(octets * ticks))
        self.send_header("X-Accel-Buffering", "no")
        self.end_headers()
        for _ in range(ticks):
            time.sleep(asked.get("ms", 0) / 1000)
            self.wfile.write(b"x" * octets)
            self.wfile.flush()

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 200
ThreadingHTTPServer(("127.0.0.1", 8000), Application).serve_forever()
