-- What several nodes need to record a meeting of which they have tracks each
-- (docs/adr/0012-recordings-of-several-nodes.md).

-- +goose Up
ALTER TABLE meetings ADD COLUMN recorder TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the node that makes its recordings, or has made them
ALTER TABLE meetings ADD COLUMN recorder_until BIGINT NOT NULL DEFAULT 0; -- by the database's clock
ALTER TABLE tracks ADD COLUMN part TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the bucket that has a copy of its audio for the recorder
ALTER TABLE tracks ADD COLUMN lost BIGINT NOT NULL DEFAULT 0; -- 1: nobody has its audio any more
ALTER TABLE nodes ADD COLUMN bucket TEXT COLLATE "C" NOT NULL DEFAULT ''; -- that it keeps recordings in, 'none' for none
ALTER TABLE nodes ADD COLUMN links TEXT COLLATE "C" NOT NULL DEFAULT ''; -- the mark of the secret that it signs links with
CREATE INDEX tracks_parts ON tracks (meeting) WHERE part <> '';

-- +goose Down
DROP INDEX tracks_parts;
ALTER TABLE nodes DROP COLUMN links;
ALTER TABLE nodes DROP COLUMN bucket;
ALTER TABLE tracks DROP COLUMN lost;
ALTER TABLE tracks DROP COLUMN part;
ALTER TABLE meetings DROP COLUMN recorder_until;
ALTER TABLE meetings DROP COLUMN recorder;
