#!/usr/bin/env python3
"""A recognizer for `verbatim serve --recognizer "command:./examples/recognizer.py"`.

It "recognizes" loudness: (speech 1.2 s). Put your engine where it says ENGINE.
"""
import array, json, signal, sys

RATE, LOUD, PAUSE = 16000, 500, 8000  # samples a second, of 32768, samples
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when we end


def say(kind, start, end):  # in samples
    text = "(speech %.1f s)" % ((end - start) / RATE)  # ENGINE: the words in between
    line = {"type": kind, "start": start / RATE, "end": end / RATE, "text": text}
    print(json.dumps(line), flush=True)


now, start, last = 0, None, 0  # start of this utterance, end of its last loud part
while data := sys.stdin.buffer.read(RATE // 10 * 2):  # 100 ms, less at the end
    pcm = array.array("h", data[: len(data) // 2 * 2])
    if sys.byteorder == "big":
        pcm.byteswap()
    begin, now = now, now + len(pcm)
    if sum(map(abs, pcm)) > LOUD * len(pcm):  # ENGINE: give it the samples
        start = begin if start is None else start
        last = now
        say("interim", start, last)
    elif start is not None and now - last >= PAUSE:
        say("final", start, last)
        start = None
if start is not None:  # end of the audio: say what is left, then exit with 0
    say("final", start, last)
