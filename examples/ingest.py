#!/usr/bin/env python3
"""Sends a WAV file (16 bit, mono) at the speed of speech, or without a file the
microphone until Ctrl-C, to a room: ingest.py --room demo [file.wav]

What the server has not acknowledged is kept and sent again. docs/INGEST.md.
"""
import argparse, asyncio, contextlib, json, secrets, signal, struct, subprocess, sys, threading, time, wave
import websockets  # Debian: python3-websockets

args = argparse.ArgumentParser()
args.add_argument("file", nargs="?")
args.add_argument("--room", required=True)
args.add_argument("--url", default="ws://127.0.0.1:8080")
args = args.parse_args()
url = f"{args.url}/v1/rooms/{args.room}/ingest?name=Python&participant={secrets.token_hex(8)}"
source = args.file
if not source:
    arecord = "arecord -q -t wav -f S16_LE -c 1 -r 16000".split()
    source = subprocess.Popen(arecord, stdout=subprocess.PIPE).stdout
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends arecord, and that the stream
wav = wave.open(source)
rate = wav.getframerate()
assert (wav.getsampwidth(), wav.getnchannels()) == (2, 1), "not 16 bit mono"
kept, first = bytearray(), 0  # what is not acknowledged; the counter of its first sample


def capture():
    start, samples = time.monotonic(), 0
    while data := wav.readframes(rate // 50):
        kept.extend(data)
        samples += len(data) // 2
        time.sleep(max(0, start + samples / rate - time.monotonic()))


async def send(ws, counter):
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            over = not recorder.is_alive()
            at = 2 * (counter - first)
            if data := kept[at : at + rate // 10 * 2]:  # at most 100 ms
                await ws.send(struct.pack(">Q", counter) + data)
                counter += len(data) // 2
            elif over:
                return await ws.send('{"type":"end"}')
            else:
                await asyncio.sleep(0.02)


async def main():
    global first
    token = ""
    while True:
        try:
            async with websockets.connect(url, subprotocols=["verbatim.pcm.v1"]) as ws:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await ws.send(json.dumps({"type": "hello", "rate": rate, "resume": token}))
                    async for message in ws:
                        message = json.loads(message)
                        if message["type"] == "ready":
                            token, sender = message["resume"], asyncio.create_task(send(ws, message["next"]))
                        elif message["type"] == "ack":
                            del kept[: 2 * (message["durable"] - first)]
                            first = message["durable"]
            code, reason = ws.close_code, ws.close_reason
        except (OSError, asyncio.TimeoutError, websockets.InvalidHandshake) as e:
            code, reason = 1006, e
        if code == 1000:  # all of it is on the server's disk
            return
        print(f"closed with {code}: {reason}", file=sys.stderr)
        if code in (4400, 4409, 4410):  # docs/INGEST.md says which codes mean what
            sys.exit(1)
        if code in (1001, 1011, 4404):  # the stream is over: the rest goes into a new one
            token, first = "", 0
        await asyncio.sleep(0.5)


recorder = threading.Thread(target=capture, daemon=True)
recorder.start()
asyncio.run(main())
