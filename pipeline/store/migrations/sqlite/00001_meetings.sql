-- Times are microseconds since 1970 (UTC), audio is counted in ticks (48 kHz).
-- Only what SQLite and PostgreSQL both understand.

-- +goose Up
CREATE TABLE meetings (
    id         TEXT PRIMARY KEY,
    room       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('live', 'ended', 'complete', 'incomplete')),
    started_at BIGINT NOT NULL,
    ended_at   BIGINT,
    segments   BIGINT NOT NULL DEFAULT 0 -- the number of the last segment
);
-- This index is what makes two first participants meet.
CREATE UNIQUE INDEX meetings_live ON meetings (room) WHERE state = 'live';
CREATE INDEX meetings_by_start ON meetings (started_at, id);
CREATE INDEX meetings_by_room ON meetings (room, started_at, id);

CREATE TABLE participants (
    meeting   TEXT NOT NULL REFERENCES meetings (id),
    id        TEXT NOT NULL,
    name      TEXT NOT NULL,
    joined_at BIGINT NOT NULL,
    left_at   BIGINT,
    PRIMARY KEY (meeting, id)
);

CREATE TABLE tracks (
    id            TEXT PRIMARY KEY,
    meeting       TEXT NOT NULL,
    participant   TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('live', 'pending', 'complete', 'incomplete')),
    ended_by      TEXT NOT NULL DEFAULT '',
    started_at    BIGINT NOT NULL,
    epoch         BIGINT NOT NULL DEFAULT 0,
    through       BIGINT NOT NULL DEFAULT 0,
    next_segment  BIGINT NOT NULL DEFAULT 0,
    received      BIGINT NOT NULL DEFAULT 0,
    recovered     BIGINT NOT NULL DEFAULT 0,
    concealed     BIGINT NOT NULL DEFAULT 0,
    silence       BIGINT NOT NULL DEFAULT 0,
    discontinuity BIGINT NOT NULL DEFAULT 0,
    shed          BIGINT NOT NULL DEFAULT 0,
    FOREIGN KEY (meeting, participant) REFERENCES participants (meeting, id)
);
CREATE INDEX tracks_by_participant ON tracks (meeting, participant);
CREATE INDEX tracks_unfinished ON tracks (started_at, id) WHERE state IN ('live', 'pending');

CREATE TABLE skipped (
    track      TEXT NOT NULL REFERENCES tracks (id),
    start_tick BIGINT NOT NULL,
    end_tick   BIGINT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (track, start_tick, end_tick)
);

-- A segment's id is track.n; its participant is the track's.
CREATE TABLE segments (
    track    TEXT NOT NULL REFERENCES tracks (id),
    n        BIGINT NOT NULL,
    meeting  TEXT NOT NULL REFERENCES meetings (id),
    number   BIGINT NOT NULL, -- 1, 2, 3… in the meeting, in the order of commits
    start_ms BIGINT NOT NULL,
    end_ms   BIGINT NOT NULL,
    text     TEXT NOT NULL,
    engine   TEXT NOT NULL,
    revision BIGINT NOT NULL,
    words    TEXT, -- JSON, NULL where the engine gave none
    PRIMARY KEY (track, n),
    UNIQUE (meeting, number)
);

-- +goose Down
DROP TABLE segments;
DROP TABLE skipped;
DROP TABLE tracks;
DROP TABLE participants;
DROP TABLE meetings;
