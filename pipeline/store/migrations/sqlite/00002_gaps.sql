-- What a transcript lacks, by the name that it has in the account: gaps takes
-- the place of skipped, which knew only what was given up behind the log.
-- Only what SQLite and PostgreSQL both understand.

-- +goose Up
CREATE TABLE gaps (
    track      TEXT NOT NULL REFERENCES tracks (id),
    kind       TEXT NOT NULL CHECK (kind IN ('concealed', 'discontinuity', 'shed', 'skipped')),
    start_tick BIGINT NOT NULL,
    end_tick   BIGINT NOT NULL,
    ticks      BIGINT NOT NULL, -- how much is missing between the two
    start_ms   BIGINT NOT NULL, -- on the meeting's clock
    end_ms     BIGINT NOT NULL,
    reason     TEXT NOT NULL DEFAULT '', -- of what was skipped
    PRIMARY KEY (track, kind, start_tick),
    CHECK (ticks > 0 AND ticks <= end_tick - start_tick)
);
INSERT INTO gaps (track, kind, start_tick, end_tick, ticks, start_ms, end_ms, reason)
SELECT s.track, 'skipped', s.start_tick, s.end_tick, s.end_tick - s.start_tick,
    (t.started_at - m.started_at) / 1000 + s.start_tick / 48,
    (t.started_at - m.started_at) / 1000 + s.end_tick / 48,
    s.reason
FROM skipped s
JOIN tracks t ON t.id = s.track
JOIN meetings m ON m.id = t.meeting
-- Of those that begin together, the longest.
WHERE NOT EXISTS (
    SELECT 1 FROM skipped l WHERE l.track = s.track AND l.start_tick = s.start_tick AND l.end_tick > s.end_tick
);
DROP TABLE skipped;

-- +goose Down
CREATE TABLE skipped (
    track      TEXT NOT NULL REFERENCES tracks (id),
    start_tick BIGINT NOT NULL,
    end_tick   BIGINT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (track, start_tick, end_tick)
);
INSERT INTO skipped (track, start_tick, end_tick, reason)
SELECT track, start_tick, end_tick, reason FROM gaps WHERE kind = 'skipped';
DROP TABLE gaps;
