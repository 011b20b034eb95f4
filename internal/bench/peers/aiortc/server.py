"""A WHIP server of aiortc that decodes what it gets to 16 kHz mono PCM.

../README.md has its environment, its settings, and why they are these.
"""

import asyncio
import functools
import os
import struct
import time
import uuid

import aiortc.codecs
import aiortc.rtcrtpreceiver
import uvloop
from aiohttp import web
from aioice import ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs._opus import ffi, lib
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError

RATE = 16000
LONGEST = RATE * 120 // 1000  # samples of an Opus packet
WRITE_BYTES = 32 << 10
WRITE_AFTER = 0.05  # seconds


class Decoder(aiortc.codecs.base.Decoder):
    """Decodes with the libopus that aiortc has, but straight to 16 kHz mono.

    aiortc's own decoder gives 48 kHz stereo, and fails on packets that do not
    last 20 ms.
    """

    def __init__(self):
        error = ffi.new("int *")
        self.decoder = ffi.gc(
            lib.opus_decoder_create(RATE, 1, error), lib.opus_decoder_destroy
        )
        assert error[0] == lib.OPUS_OK
        self.pcm = ffi.new("int16_t[]", LONGEST)
        self.bytes = ffi.buffer(self.pcm)

    def decode(self, frame):
        n = lib.opus_decode(
            self.decoder, frame.data, len(frame.data), self.pcm, LONGEST, 0
        )
        return [self.bytes[: 2 * n]] if n > 0 else []


class Probe(asyncio.Protocol):
    """Tells over a socket what was decoded, and when."""

    record = struct.Struct("<16sqqI")

    def __init__(self):
        self.buffer = bytearray()
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport):
        self.transport = transport

    def add(self, stream, end):
        if not self.buffer:
            self.loop.call_later(WRITE_AFTER, self.write)
        self.buffer += self.record.pack(stream, end, time.time_ns(), 0)
        if len(self.buffer) >= WRITE_BYTES:
            self.write()

    def write(self):
        if self.buffer:
            self.transport.write(bytes(self.buffer))
            self.buffer.clear()


async def listen(track, probe, stream):
    end = 0
    try:
        while True:
            pcm = await track.recv()
            end += len(pcm) // 2
            probe.add(stream, end)
    except MediaStreamError:
        pass  # the track has ended


class Server:
    def __init__(self, probe):
        self.probe = probe
        self.sessions = {}

    async def health(self, request):
        return web.Response()

    async def join(self, request):
        stream = bytes.fromhex(request.query["participant"])
        offer = RTCSessionDescription(await request.text(), "offer")
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        session = uuid.uuid4().hex
        self.sessions[session] = pc
        listening = []

        @pc.on("track")
        def on_track(track):
            listening.append(asyncio.create_task(listen(track, self.probe, stream)))

        @pc.on("connectionstatechange")
        async def on_state():
            if pc.connectionState in ("failed", "closed"):
                self.sessions.pop(session, None)
                await pc.close()

        await pc.setRemoteDescription(offer)
        await pc.setLocalDescription(await pc.createAnswer())  # which gathers, too
        return web.Response(
            status=201,
            text=pc.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/v1/sessions/{session}"},
        )

    async def leave(self, request):
        pc = self.sessions.pop(request.match_info["session"], None)
        if pc is None:
            return web.Response(status=404)
        await pc.close()
        return web.Response()


async def main():
    ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    aiortc.codecs.OpusDecoder = Decoder
    aiortc.rtcrtpreceiver.JitterBuffer = functools.partial(unfilled, JitterBuffer)

    loop = asyncio.get_running_loop()
    _, probe = await loop.create_unix_connection(Probe, os.environ["BENCH_PROBE"])
    server = Server(probe)
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", server.health),
            web.post("/v1/rooms/{room}/whip", server.join),
            web.delete("/v1/sessions/{session}", server.leave),
        ]
    )
    # The driver reuses its connections whenever it comes back.
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    host, port = os.environ["BENCH_LISTEN"].rsplit(":", 1)
    await web.TCPSite(runner, host, int(port)).start()
    await asyncio.Event().wait()


def unfilled(buffer, capacity, prefetch=0, is_video=False):
    """A jitter buffer that does not keep packets which are in order."""
    return buffer(capacity, 0, is_video)


uvloop.install()
asyncio.run(main())
