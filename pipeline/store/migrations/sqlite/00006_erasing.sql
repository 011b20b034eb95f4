-- +goose Up
ALTER TABLE meetings ADD COLUMN erasing BIGINT NOT NULL DEFAULT 0; -- 1 from when its erasure was asked for

-- +goose Down
ALTER TABLE meetings DROP COLUMN erasing;
