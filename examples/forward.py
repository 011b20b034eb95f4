#!/usr/bin/env python3
"""Takes the audio of a meeting from NATS JetStream as the server forwards it, and
writes a WAV file per track: forward.py 01JD… --out folder

A service that transcribes, translates or analyses takes each message where this
one writes it. It speaks NATS' protocol by itself so that it needs nothing but
Python; with TLS or credentials use nats-py. docs/FORWARD.md.
"""
import argparse, json, os, re, secrets, socket, sys, time, wave
from urllib.parse import unquote, urlsplit

cli = argparse.ArgumentParser(description="writes the forwarded tracks of a meeting as WAV files")
cli.add_argument("meeting")
cli.add_argument("--out", default=".")
cli.add_argument("--url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
cli.add_argument("--prefix", default="verbatim")
cli.add_argument("--quiet", type=float, default=10, help="end when all tracks have, and nothing came for that many seconds")
args = cli.parse_args()
if not re.fullmatch("[0-9A-Z]{26}", args.meeting):
    cli.error("a meeting is 26 letters and digits")
stream = f"{args.prefix.upper()}_{args.meeting}"
RATE = 16000


class Nats:
    """A connection with one subscription, of what is asked for and answered."""

    def __init__(self, url):
        self.socket = socket.create_connection((url.hostname, url.port or 4222), timeout=5)
        self.file, self.inbox = self.socket.makefile("rb"), "_INBOX." + secrets.token_hex(11)
        login = {"user": unquote(url.username), "pass": unquote(url.password or "")} if url.username else {}
        hello = {"verbose": False, "headers": True, "no_responders": True, "lang": "python", "version": "1", "name": "forward.py", **login}
        self.file.readline()  # INFO
        self.socket.sendall(f"CONNECT {json.dumps(hello)}\r\nSUB {self.inbox} 1\r\n".encode())

    def ask(self, subject, **what):
        body = json.dumps(what).encode()
        self.socket.sendall(f"PUB {subject} {self.inbox} {len(body)}\r\n".encode() + body + b"\r\n")

    def next(self):
        """The next message: its reply subject, status, headers and body."""
        while line := self.file.readline():
            word, *rest = line.decode().split()
            if word == "PING":
                self.socket.sendall(b"PONG\r\n")
            elif word == "-ERR":
                raise OSError(line.decode().strip())
            elif word in ("MSG", "HMSG"):
                head = int(rest[-2]) if word == "HMSG" else 0
                data = self.file.read(int(rest[-1]) + 2)[:-2]
                first, *lines = data[:head].decode().split("\r\n")
                headers = dict(h.split(": ", 1) if ": " in h else h.split(":", 1) for h in lines if ":" in h)
                return rest[2] if len(rest) == (5 if head else 4) else "", first[9:12], headers, data[head:]
        raise OSError("the connection is lost")

    def answer(self):
        _, status, _, body = self.next()
        if status == "503":
            raise OSError("no JetStream answers")
        return json.loads(body)


class Track:
    def __init__(self, headers):
        self.id = headers["Verbatim-Track"]
        if not re.fullmatch("[0-9A-Z]{26}", self.id):
            raise ValueError("not a track")
        self.who, self.seq, self.samples, self.missing, self.account, self.end = json.loads(headers["Verbatim-Name"]), 0, 0, 0, "", ""
        self.wav = wave.open(os.path.join(args.out, self.id + ".wav"), "wb")
        self.wav.setparams((1, 2, RATE, 0, "NONE", None))

    def take(self, headers, pcm):
        seq, start, samples = (int(headers["Verbatim-" + name]) for name in ("Seq", "Start", "Samples"))
        if seq < self.seq:
            return  # it was here before the connection was lost
        if start > self.samples:  # too old to be kept by the broker
            self.missing += start - self.samples
            self.wav.writeframes(bytes(2 * (start - self.samples)))
        self.wav.writeframes(pcm or bytes(2 * samples))  # without a body it is that much silence
        self.seq, self.samples = seq + 1, start + samples
        self.account, self.end = headers["Verbatim-Account"], headers.get("Verbatim-End", "")
        spans = headers.get("Verbatim-Spans", "")
        if "concealed" in spans or "shed" in spans or "discontinuity" in spans:
            print(f"{self.id} {self.who}: at {start / RATE:.2f} s: {spans}")
        if self.end:
            self.wav.close()
            print(f"{self.id} {self.who}: ended ({self.end}) after {self.samples} samples: {self.account}; {self.missing} are missing")


tracks, done, last = {}, 0, time.monotonic()  # done is the stream sequence of the last message


def follow():
    """Takes messages until the connection breaks or the meeting is over."""
    global done, last
    nats, name = Nats(urlsplit(args.url)), "py" + secrets.token_hex(8)
    nats.ask(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", stream_name=stream, config={
        "name": name, "deliver_policy": "by_start_sequence", "opt_start_seq": done + 1,
        "ack_policy": "none", "mem_storage": True, "inactive_threshold": 60 * 10**9})
    if error := nats.answer().get("error"):
        raise OSError(error["description"])
    while not (tracks and all(t.end for t in tracks.values()) and time.monotonic() - last > args.quiet):
        nats.ask(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", batch=100, expires=10**9)
        left = 100
        while left:
            reply, status, headers, body = nats.next()
            if status in ("404", "408"):  # nothing more for now
                break
            if status:
                raise OSError(f"JetStream answers {status}")
            track = tracks.get(headers["Verbatim-Track"]) or tracks.setdefault(headers["Verbatim-Track"], Track(headers))
            track.take(headers, body)
            done, last, left = int(reply.split(".")[-4]), time.monotonic(), left - 1
    return True


os.makedirs(args.out, exist_ok=True)
while True:
    try:
        if follow():
            break
    except OSError as e:
        print(f"forward.py: {e}; trying again", file=sys.stderr)
        time.sleep(1)
sys.exit(any(t.missing for t in tracks.values()))
