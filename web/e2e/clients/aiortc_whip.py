"""Sends a WAV file by aiortc, then leaves.

usage: aiortc_whip.py FILE ENDPOINT [opus|PCMU|PCMA]
"""

import asyncio
import sys

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaPlayer

import whip

CONNECT = 10  # seconds


async def main(file, endpoint, codec="opus"):
    # Without a configuration it asks a STUN server on the internet.
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    track = MediaPlayer(file).audio  # plays from the first packet on, in real time
    ended, connected = asyncio.Event(), asyncio.Event()
    track.on("ended", ended.set)

    @pc.on("connectionstatechange")
    def changed():
        if pc.connectionState == "connected":
            connected.set()

    transceiver = pc.addTransceiver(track, direction="sendonly")
    transceiver.setCodecPreferences(
        [
            c
            for c in RTCRtpSender.getCapabilities("audio").codecs
            if c.mimeType == f"audio/{codec}"
        ]
    )
    await pc.setLocalDescription(await pc.createOffer())  # which gathers, too
    answer, session = await asyncio.to_thread(
        whip.begin, endpoint, pc.localDescription.sdp
    )
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(connected.wait(), CONNECT)
    await ended.wait()  # the last packet has been sent
    await asyncio.to_thread(whip.end, session)
    await pc.close()


asyncio.run(main(*sys.argv[1:]))
