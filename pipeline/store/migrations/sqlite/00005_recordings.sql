-- +goose Up
ALTER TABLE meetings ADD COLUMN recorded_at BIGINT; -- when its recordings were made, NULL before that
CREATE INDEX meetings_unrecorded ON meetings (started_at, id) WHERE recorded_at IS NULL AND state IN ('complete', 'incomplete');

-- +goose Down
DROP INDEX meetings_unrecorded;
ALTER TABLE meetings DROP COLUMN recorded_at;
