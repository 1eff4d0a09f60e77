# A learner's web application, as the preview tests need one: plain, streaming,
# uploads, WebSockets, and all that a hostile page may try with cookies.

import base64
import hashlib
import http.server
import json
import threading

GO = threading.Event()
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, kind="text/html", headers=()):
        body = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/":
            link = f"http://{self.headers['Host']}/about"
            self.answer(f"<!DOCTYPE html><title>app</title><h1>It works</h1><a id=about href='{link}'>About</a>")
        elif path == "/about":
            self.answer("<!DOCTYPE html><title>about</title><h1>About</h1>")
        elif path == "/headers":
            self.answer(json.dumps(list(self.headers.items())), "application/json")
        elif path == "/stream":
            self.stream()
        elif path == "/go":
            GO.set()
            self.answer("going", "text/plain")
        elif path == "/hostile":
            self.hostile()
        elif path == "/worker.js":
            self.answer("self.addEventListener('fetch', () => {});", "text/javascript")
        elif path == "/ws" and self.headers.get("Upgrade", "").lower() == "websocket":
            self.websocket()
        else:
            self.send_error(404)

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers.get("Content-Length", 0))
        total = left
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                return
            digest.update(piece)
            left -= len(piece)
        self.answer(f"{total} {digest.hexdigest()}", "text/plain")

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.flush()
        GO.wait(60)
        self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    def hostile(self):
        self.answer(
            "<!DOCTYPE html><title>hostile</title><h1>Hostile</h1>",
            headers=[
                ("Set-Cookie", "__Host-drydock=evil; Secure; Path=/"),
                ("Set-Cookie", "drydock=evil; Path=/"),
                ("Set-Cookie", "=drydock=evil; Path=/"),
                ("Set-Cookie", "wide=1; Domain=localhost; Path=/"),
                ("Set-Cookie", "own=1; Path=/"),
                ("Clear-Site-Data", '"cookies", "storage"'),
                ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ],
        )

    # Sends back each short text message.
    def websocket(self):
        accept = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + GUID).digest())
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            length = head[1] & 0x7F
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            if head[0] & 0x0F == 8:
                return
            self.wfile.write(bytes([0x81, len(data)]) + data)
            self.wfile.flush()


http.server.ThreadingHTTPServer(("", 8000), App).serve_forever()
