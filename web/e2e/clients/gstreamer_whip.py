"""Sends a WAV file by GStreamer's webrtcbin, then leaves.

usage: gstreamer_whip.py FILE ENDPOINT [opus|PCMU|PCMA] [FRAME_MS] [dtx]
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

import whip  # noqa: E402

STEP = 10  # seconds that a step of setting up may take
PT = {"opus": 96, "PCMU": 0, "PCMA": 8}


def encoder(codec, frame_ms, dtx):
    if codec == "opus":
        # The enumeration names 2.5 ms as 2.
        encode = f"opusenc frame-size={int(float(frame_ms))} dtx={dtx}"
        if dtx:  # for speech alone
            encode += " audio-type=voice bitrate=24000"
        return f"{encode} ! rtpopuspay dtx={dtx}"
    ns = int(float(frame_ms) * 1e6)
    pay = f"rtp{codec.lower()}pay min-ptime={ns} max-ptime={ns}"
    law = {"PCMU": "mulawenc", "PCMA": "alawenc"}[codec]
    return f"audio/x-raw,rate=8000 ! {law} ! {pay}"


def wait(event, what):
    if not event.wait(STEP):
        raise RuntimeError(f"waited {STEP} s in vain for {what}")


def ask(webrtc, signal, *args):
    """Emits an action signal. The reply lives as long as the promise."""
    promise = Gst.Promise.new()
    webrtc.emit(signal, *args, promise)
    promise.wait()
    reply = promise.get_reply()
    if reply and reply.has_field("error"):
        raise RuntimeError(f"{signal}: {reply.get_value('error')}")
    return promise


def main(file, endpoint, codec="opus", frame_ms="20", dtx=""):
    Gst.init(None)
    # The file is sent in real time: webrtcbin waits for each packet's time.
    pipeline = Gst.parse_launch(
        "filesrc name=file ! wavparse ! audioconvert ! audioresample"
        f" ! {encoder(codec, frame_ms, dtx == 'dtx')} pt={PT[codec]} name=sent"
        " ! webrtcbin name=webrtc bundle-policy=max-bundle"
    )
    pipeline.get_by_name("file").set_property("location", file)
    webrtc = pipeline.get_by_name("webrtc")
    transceiver = webrtc.emit("get-transceiver", 0)
    transceiver.set_property(
        "direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY
    )
    # Offers retransmission (RTX), too.
    transceiver.set_property("do-nack", True)
    needed, gathered, connected, ended = (threading.Event() for _ in range(4))
    failure = []

    def gathering(*_):
        state = webrtc.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            gathered.set()

    def connection(*_):
        state = webrtc.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            connected.set()

    def message(_, m):
        if m.type == Gst.MessageType.ERROR:
            failure.append(m.parse_error())
            print(failure[0], file=sys.stderr)
            ended.set()
        return Gst.BusSyncReply.DROP

    def event(_, info):
        if info.get_event().type == Gst.EventType.EOS:
            ended.set()  # what was before it has been sent
        return Gst.PadProbeReturn.OK

    webrtc.connect("on-negotiation-needed", lambda *_: needed.set())
    webrtc.connect("notify::ice-gathering-state", gathering)
    webrtc.connect("notify::connection-state", connection)
    pipeline.get_bus().set_sync_handler(message)
    pipeline.get_by_name("sent").get_static_pad("src").add_probe(
        Gst.PadProbeType.EVENT_DOWNSTREAM, event
    )

    pipeline.set_state(Gst.State.PLAYING)
    try:
        wait(needed, "the pipeline to be ready to offer")
        promise = ask(webrtc, "create-offer", None)
        reply = promise.get_reply()
        offer = reply["offer"]
        ask(webrtc, "set-local-description", offer)
        wait(gathered, "the candidates")
        sdp = webrtc.get_property("local-description").sdp.as_text()
        answer, session = whip.begin(endpoint, sdp)
        _, parsed = GstSdp.SDPMessage.new_from_text(answer)
        answer = GstWebRTC.WebRTCSessionDescription.new(
            GstWebRTC.WebRTCSDPType.ANSWER, parsed
        )
        ask(webrtc, "set-remote-description", answer)
        wait(connected, "the connection")
        ended.wait()
        if failure:
            sys.exit(1)
        whip.end(session)
    finally:
        pipeline.set_state(Gst.State.NULL)


main(*sys.argv[1:])
