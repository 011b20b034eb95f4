-- What SQLite's migrations up to 8 make: there is no PostgreSQL that is older, and
-- from here on both have the same numbers. Times are microseconds since 1970 (UTC),
-- audio is counted in ticks (48 kHz). Text is compared by its bytes, as in SQLite;
-- and so no index depends on a library's idea of a language, which changes.

-- +goose Up
CREATE TABLE meetings (
    id          TEXT COLLATE "C" PRIMARY KEY,
    room        TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('live', 'ended', 'complete', 'incomplete')),
    started_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    segments    BIGINT NOT NULL DEFAULT 0, -- the number of the last segment
    recorded_at BIGINT, -- when its recordings were made, NULL before that
    erasing     BIGINT NOT NULL DEFAULT 0 -- 1 from when its erasure was asked for
);
-- This index is what makes two first participants meet, on whatever nodes.
CREATE UNIQUE INDEX meetings_live ON meetings (room) WHERE state = 'live';
CREATE INDEX meetings_by_start ON meetings (started_at, id);
CREATE INDEX meetings_by_room ON meetings (room, started_at, id);
CREATE INDEX meetings_unrecorded ON meetings (started_at, id) WHERE recorded_at IS NULL AND state IN ('complete', 'incomplete');

CREATE TABLE participants (
    meeting   TEXT COLLATE "C" NOT NULL REFERENCES meetings (id),
    id        TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    joined_at BIGINT NOT NULL,
    left_at   BIGINT,
    node      TEXT COLLATE "C" NOT NULL DEFAULT '', -- of the session
    session   TEXT COLLATE "C" NOT NULL DEFAULT '', -- its key, not its id
    PRIMARY KEY (meeting, id)
);
CREATE INDEX participants_present ON participants (node) WHERE left_at IS NULL;

CREATE TABLE tracks (
    id               TEXT COLLATE "C" PRIMARY KEY,
    meeting          TEXT COLLATE "C" NOT NULL,
    participant      TEXT COLLATE "C" NOT NULL,
    state            TEXT COLLATE "C" NOT NULL CHECK (state IN ('live', 'pending', 'complete', 'incomplete')),
    ended_by         TEXT COLLATE "C" NOT NULL DEFAULT '',
    started_at       BIGINT NOT NULL,
    epoch            BIGINT NOT NULL DEFAULT 0,
    through          BIGINT NOT NULL DEFAULT 0,
    next_segment     BIGINT NOT NULL DEFAULT 0,
    received         BIGINT NOT NULL DEFAULT 0,
    recovered        BIGINT NOT NULL DEFAULT 0,
    concealed        BIGINT NOT NULL DEFAULT 0,
    silence          BIGINT NOT NULL DEFAULT 0,
    discontinuity    BIGINT NOT NULL DEFAULT 0,
    shed             BIGINT NOT NULL DEFAULT 0,
    finished_at      BIGINT, -- when its transcript was
    audio_expired_at BIGINT, -- NULL while its audio is kept
    node             TEXT COLLATE "C" NOT NULL DEFAULT '', -- which has its audio
    FOREIGN KEY (meeting, participant) REFERENCES participants (meeting, id)
);
CREATE INDEX tracks_by_participant ON tracks (meeting, participant);
CREATE INDEX tracks_unfinished ON tracks (started_at, id) WHERE state IN ('live', 'pending');
CREATE INDEX tracks_kept ON tracks (finished_at, id) WHERE finished_at IS NOT NULL AND audio_expired_at IS NULL;

-- A segment's id is track.n; its participant is the track's.
CREATE TABLE segments (
    track    TEXT COLLATE "C" NOT NULL REFERENCES tracks (id),
    n        BIGINT NOT NULL,
    meeting  TEXT COLLATE "C" NOT NULL REFERENCES meetings (id),
    number   BIGINT NOT NULL, -- 1, 2, 3… in the meeting, in the order of commits
    start_ms BIGINT NOT NULL,
    end_ms   BIGINT NOT NULL,
    text     TEXT COLLATE "C" NOT NULL,
    engine   TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    words    TEXT COLLATE "C", -- JSON, NULL where the engine gave none
    PRIMARY KEY (track, n),
    UNIQUE (meeting, number)
);

-- What a transcript lacks, by the name that it has in the account.
CREATE TABLE gaps (
    track      TEXT COLLATE "C" NOT NULL REFERENCES tracks (id),
    kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('concealed', 'discontinuity', 'shed', 'skipped')),
    start_tick BIGINT NOT NULL,
    end_tick   BIGINT NOT NULL,
    ticks      BIGINT NOT NULL, -- how much is missing between the two
    start_ms   BIGINT NOT NULL, -- on the meeting's clock
    end_ms     BIGINT NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL DEFAULT '', -- of what was skipped
    PRIMARY KEY (track, kind, start_tick),
    CHECK (ticks > 0 AND ticks <= end_tick - start_tick)
);

-- The words of segments, for the search, as words.go makes them of the text.
CREATE TABLE search (
    rowid   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    words   TSVECTOR NOT NULL,
    meeting TEXT COLLATE "C" NOT NULL,
    track   TEXT COLLATE "C" NOT NULL,
    n       BIGINT NOT NULL
);
CREATE INDEX search_words ON search USING GIN (words);
CREATE INDEX search_by_meeting ON search (meeting);

-- What webhooks are still to be told: a row for each endpoint and event, written
-- with the change that it tells of.
CREATE TABLE outbox (
    n          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again
    endpoint   TEXT COLLATE "C" NOT NULL,
    meeting    TEXT COLLATE "C" NOT NULL REFERENCES meetings (id),
    id         TEXT COLLATE "C" NOT NULL, -- of the event, the same at each endpoint
    type       TEXT COLLATE "C" NOT NULL,
    body       TEXT COLLATE "C" NOT NULL, -- JSON, as it is sent
    created_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0, -- that the endpoint refused
    next_at    BIGINT NOT NULL DEFAULT 0 -- not before that time
);
CREATE INDEX outbox_in_order ON outbox (endpoint, n);
CREATE INDEX outbox_by_time ON outbox (endpoint, next_at);
CREATE INDEX outbox_by_meeting ON outbox (meeting);

-- What several nodes need (docs/adr/0010-many-machines.md).
CREATE TABLE nodes (
    id      TEXT COLLATE "C" PRIMARY KEY,
    url     TEXT COLLATE "C" NOT NULL, -- by which clients reach it, '' if it has none of its own
    alive   BIGINT NOT NULL DEFAULT 1,
    seen_at BIGINT NOT NULL -- by the database's clock, as all that nodes are compared by
);
-- Logs of erased meetings that a node has still to remove.
CREATE TABLE erased (
    meeting TEXT COLLATE "C" NOT NULL,
    node    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (meeting, node)
);
-- Who sends an endpoint its events.
CREATE TABLE endpoints (
    endpoint TEXT COLLATE "C" PRIMARY KEY,
    node     TEXT COLLATE "C" NOT NULL,
    until    BIGINT NOT NULL -- by the database's clock
);

-- +goose Down
DROP TABLE endpoints, erased, nodes, outbox, search, gaps, segments, tracks, participants, meetings;
