#!/usr/bin/env python3
"""Sends a WAV file (16 bit, mono) at the speed of speech, or without a file the
microphone until Ctrl-C, to a room: ingest.py --room demo [file.wav]

What the server has not acknowledged is kept and sent again. docs/INGEST.md.
"""
import argparse, asyncio, contextlib, json, os, signal, struct, subprocess, sys, threading, time, uuid, wave
from urllib.parse import quote
import websockets  # Debian: python3-websockets

cli = argparse.ArgumentParser(description="sends a WAV file, or the microphone, to a room")
cli.add_argument("file", nargs="?")
cli.add_argument("--room", required=True)
cli.add_argument("--name", default="Python")
cli.add_argument("--url", default="http://127.0.0.1:8080")
cli.add_argument("--token", default=os.environ.get("VERBATIM_TOKEN", ""), help="if the server asks for one")
args = cli.parse_args()
protocols = ["verbatim.pcm.v1"] + (["verbatim.token." + args.token] if args.token else [])
try:
    arecord = "arecord -q -t wav -f S16_LE -c 1 -r 16000".split()
    wav = wave.open(args.file or subprocess.Popen(arecord, stdout=subprocess.PIPE).stdout)
except (OSError, EOFError, wave.Error) as e:
    cli.error(f"{args.file or 'the microphone'}: {e}")
if (wav.getsampwidth(), wav.getnchannels()) != (2, 1):
    cli.error(f"{args.file} is not 16 bit mono; this makes it so: sox {args.file} -b 16 -c 1 mono.wav")
rate = wav.getframerate()
kept, first, token = bytearray(), 0, ""  # what is not acknowledged; the counter of its first sample
began, done = time.monotonic(), 0  # when recording began; samples that were acknowledged
base = args.url  # of the server that has the stream
who = uuid.uuid4().hex
stop = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())  # what was said until then is sent, and the end


def capture():
    samples = 0
    while not stop.is_set() and (data := wav.readframes(rate // 50)):
        kept.extend(data)
        samples += len(data) // 2
        stop.wait(max(0, began + samples / rate - time.monotonic()))


async def send(ws, counter):
    with contextlib.suppress(websockets.ConnectionClosed):
        while data := kept[2 * (counter - first) :][: rate // 10 * 2] or recorder.is_alive():  # at most 100 ms
            if data is not True:
                await ws.send(struct.pack(">Q", counter) + data)
                counter += len(data) // 2
            await asyncio.sleep(0.01)
        await ws.send('{"type":"end"}')


async def stream(ws):
    global first, token, base, done
    late = time.monotonic() - began - done / rate  # since the first sample that is kept was recorded
    await ws.send(json.dumps({"type": "hello", "rate": rate, "resume": token, "late_ms": min(int(1000 * late), 600_000)}))
    async for text in ws:
        message = json.loads(text)
        if message["type"] == "ready":
            base = message.get("node", base)
            token, sending = message["resume"], asyncio.create_task(send(ws, message["next"]))
        elif message["type"] == "ack":
            del kept[: 2 * (message["durable"] - first)]
            done += message["durable"] - first
            first = message["durable"]


def endpoint():
    query = f"name={quote(args.name)}&participant={who}"
    return f"ws{base.removeprefix('http').removeprefix('ws')}/v1/rooms/{args.room}/ingest?{query}"


async def main():
    global first, token, base
    alive = time.monotonic()
    while True:
        code, reason = 1006, "the connection broke"
        try:
            async with websockets.connect(endpoint(), subprotocols=protocols) as ws:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await stream(ws)
            alive = time.monotonic()
            code, reason = ws.close_code, ws.close_reason or reason
        except websockets.InvalidHandshake as e:
            if 400 <= getattr(e, "status_code", 0) < 500:
                sys.exit(f"the server refuses: {e} (is --room right?)")
            reason = e
        except (OSError, asyncio.TimeoutError) as e:
            reason = e
            if base != args.url and time.monotonic() - alive > 30:
                code = 4404  # its server, one of several, is away for too long
        if code == 1000:
            return print("all of it is on the server's disk")
        if stop.is_set() and not token or code in (4400, 4409, 4410):  # docs/INGEST.md says which codes mean what
            sys.exit(f"closed with {code}: {reason}")
        print(f"{reason} ({code}); trying again", file=sys.stderr)
        if code in (1001, 1011, 4404):  # the stream is over: the rest goes into a new one
            first, token, base = 0, "", args.url
        await asyncio.sleep(0.5)


recorder = threading.Thread(target=capture, daemon=True)
recorder.start()
asyncio.run(main())
