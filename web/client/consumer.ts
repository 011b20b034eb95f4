// What a web app in strict TypeScript writes. package.test.js compiles it against
// the packed package; it is never run.
import { Api, Captions, Verbatim, VerbatimError, validRoom } from '@verbatim/client';
import type { Code, Coverage, Device, Events, Meeting, Options, Segment, State, Stats, Transcript, Word } from '@verbatim/client';

const options: Options = { room: 'daily', name: 'Ada', token: async () => 'fresh', audio: { noiseSuppression: false } };
const room = new Verbatim(options);

room.addEventListener('caption', (e) => {
  const text: string = e.detail.text;
  const words: Word[] | undefined = e.detail.words;
  const confidence: number | undefined = words?.[0]?.confidence;
  console.log(e.detail.participant.name, text, confidence);
});
room.addEventListener('state', ({ detail }) => {
  const state: State = detail.state;
  const muted: boolean = detail.muted;
  console.log(state, detail.reason, muted);
});
room.addEventListener('error', (e) => {
  const code: Code = e.detail.code;
  if (code === 'unauthorized' || e.detail.retry) console.error(e.detail.message, e.detail.status ?? 0);
});
room.addEventListener('meeting', (e) => console.log(e.detail?.participants.length ?? 0));
room.addEventListener('coverage', (e) => {
  const coverage: Coverage = e.detail.coverage;
  console.log(coverage.pending_ms, e.detail.tracks[0]?.transcription?.engine);
});
room.addEventListener('retract', (e) => room.captions.indexOf(e.detail.id), { once: true });
const onLevel = (e: CustomEvent<Events['level']>) => e.detail.toFixed(2);
room.addEventListener('level', onLevel);
room.removeEventListener('level', onLevel);
room.addEventListener('devices', { handleEvent: (e) => e.detail.map((d: Device) => d.label) });

async function use() {
  const sending: boolean = await room.join();
  room.listen();
  room.mute(sending);
  await room.setDevice((await Verbatim.devices())[0]?.id);
  await room.leave({ keepCaptions: true });

  const { meetings, next } = await room.meetings({ limit: 10, cursor: '' });
  const meeting: Meeting = await room.getMeeting(meetings[0]?.id ?? next);
  const { found } = await room.search('friday', { signal: AbortSignal.timeout(1_000) });
  const said: Segment | undefined = found[0]?.segment;
  const stats: Stats = await room.stats(meeting.id);
  const balance: number | null = stats.balance;
  const vtt: Blob = await room.transcript('vtt');
  const ended: Meeting = await room.end();
  const nothing: void = await room.erase(ended.id);

  const api = new Api({ url: new URL('https://captions.example.org'), token: 't' });
  const transcript: Transcript = await api.transcript(meeting.id);
  const trend: number | null | undefined = (await api.roomStats('daily')).trend.metrics[0]?.per_meeting;
  return [said, balance, vtt, nothing, transcript.missing[0]?.kind, trend, new Captions().list.length, validRoom('x')];
}
use().catch((err: unknown) => err instanceof VerbatimError && console.error(err.message));

// What is wrong has to be refused.
// @ts-expect-error no such event
room.addEventListener('captoin', () => {});
// @ts-expect-error no such detail
room.addEventListener('caption', (e) => e.detail.txt);
// @ts-expect-error a room is needed
new Verbatim({ name: 'Ada' });
// @ts-expect-error no such option
new Verbatim({ room: 'daily', rooom: 'x' });
// @ts-expect-error no such format
void room.transcript('pdf');
// @ts-expect-error state is told, not set
room.state = 'left';
// @ts-expect-error null when there is no meeting
room.meeting.id;
// @ts-expect-error an event target takes no other event's listener
room.addEventListener('level', (e: CustomEvent<string>) => e.detail);
