#!/usr/bin/env python3
"""Sends a WAV file (16 bit, mono) at the speed of speech, or without a file the
microphone until Ctrl-C, to a room: ingest.py --room demo [file.wav]

What the server has not acknowledged is kept and sent again. docs/INGEST.md.
"""
import argparse, asyncio, contextlib, json, signal, struct, subprocess, sys, threading, time, uuid, wave
import websockets  # Debian: python3-websockets

args = argparse.ArgumentParser()
args.add_argument("file", nargs="?")
args.add_argument("--room", required=True)
args.add_argument("--url", default="ws://127.0.0.1:8080")
args = args.parse_args()
if not (source := args.file):
    source = subprocess.Popen("arecord -q -t wav -f S16_LE -c 1 -r 16000".split(), stdout=subprocess.PIPE).stdout
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
        while data := kept[2 * (counter - first) :][: rate // 10 * 2] or recorder.is_alive():  # at most 100 ms
            if data is not True:
                await ws.send(struct.pack(">Q", counter) + data)
                counter += len(data) // 2
            await asyncio.sleep(0.01)
        await ws.send('{"type":"end"}')

async def main(url, token=""):
    global first
    async for ws in websockets.connect(url, subprotocols=["verbatim.pcm.v1"]):  # as often as need be
        with contextlib.suppress(websockets.ConnectionClosed):
            await ws.send(json.dumps({"type": "hello", "rate": rate, "resume": token}))
            async for text in ws:
                message = json.loads(text)
                if message["type"] == "ready":
                    token, sending = message["resume"], asyncio.create_task(send(ws, message["next"]))
                elif message["type"] == "ack":
                    del kept[: 2 * (message["durable"] - first)]
                    first = message["durable"]
        if ws.close_code == 1000:
            return  # all of it is on the server's disk
        print(f"closed with {ws.close_code}: {ws.close_reason}", file=sys.stderr)
        if ws.close_code in (4400, 4409, 4410):  # docs/INGEST.md says which codes mean what
            sys.exit(1)
        if ws.close_code in (1001, 1011, 4404):  # the stream is over: the rest goes into a new one
            token, first = "", 0

recorder = threading.Thread(target=capture, daemon=True)
recorder.start()
asyncio.run(main(f"{args.url}/v1/rooms/{args.room}/ingest?name=Python&participant={uuid.uuid4().hex}"))
