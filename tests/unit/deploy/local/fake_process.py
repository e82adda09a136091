"""A process for the supervisor to run: serves HTTP 200, and misbehaves as its arguments say.

usage: fake_process.py PORT [--deaf] [--fail TEXT] [--silent] [--child]
"""

import argparse
import http.server
import os
import signal
import subprocess
import sys


class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("ANSWER", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--fail", help="print this and exit 2")
    parser.add_argument("--silent", action="store_true", help="never serve")
    parser.add_argument("--child", action="store_true", help="start a child that outlives this process")
    arguments = parser.parse_args()
    if arguments.fail:
        sys.exit(print(arguments.fail, file=sys.stderr) or 2)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if arguments.deaf else lambda *_: sys.exit(0))
    if arguments.child:
        child = subprocess.Popen(["/bin/sleep", "600"])
        print(f"child {child.pid}", flush=True)
    if arguments.silent:
        signal.pause()
    print(f"serving {os.getpid()}", file=sys.stderr, flush=True)
    http.server.HTTPServer(("127.0.0.1", arguments.port), Ok).serve_forever()


main()
