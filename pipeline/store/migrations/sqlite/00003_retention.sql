-- +goose Up
ALTER TABLE tracks ADD COLUMN finished_at BIGINT; -- when its transcript was
ALTER TABLE tracks ADD COLUMN audio_expired_at BIGINT; -- NULL while its audio is kept
-- What was finished before counts from the end of its meeting, or of itself
-- where the meeting goes on. A tick (48 kHz) is 125/6 µs.
UPDATE tracks SET finished_at = COALESCE(
    (SELECT ended_at FROM meetings WHERE meetings.id = tracks.meeting),
    started_at + (received + recovered + concealed + silence + discontinuity + shed) * 125 / 6
) WHERE state IN ('complete', 'incomplete');
CREATE INDEX tracks_kept ON tracks (finished_at, id) WHERE finished_at IS NOT NULL AND audio_expired_at IS NULL;

-- +goose Down
DROP INDEX tracks_kept;
ALTER TABLE tracks DROP COLUMN audio_expired_at;
ALTER TABLE tracks DROP COLUMN finished_at;
