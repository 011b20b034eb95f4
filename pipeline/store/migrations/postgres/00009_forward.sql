-- +goose Up
ALTER TABLE tracks ADD COLUMN to_forward BIGINT NOT NULL DEFAULT 0; -- 1 until all of it is with the broker
CREATE INDEX tracks_to_forward ON tracks (started_at, id) WHERE to_forward = 1;

-- +goose Down
DROP INDEX tracks_to_forward;
ALTER TABLE tracks DROP COLUMN to_forward;
