-- What a store of several nodes needs (docs/adr/0010-many-machines.md). SQLite has
-- one node, and the same tables, so that the statements are the same.

-- +goose Up
CREATE TABLE nodes (
    id      TEXT PRIMARY KEY,
    url     TEXT NOT NULL, -- by which clients reach it, '' if it has none of its own
    alive   BIGINT NOT NULL DEFAULT 1,
    seen_at BIGINT NOT NULL -- by the database's clock, as all that nodes are compared by
);
ALTER TABLE tracks ADD COLUMN node TEXT NOT NULL DEFAULT ''; -- which has its audio
ALTER TABLE participants ADD COLUMN node TEXT NOT NULL DEFAULT ''; -- of the session
ALTER TABLE participants ADD COLUMN session TEXT NOT NULL DEFAULT ''; -- its key, not its id
-- Logs of erased meetings that a node has still to remove.
CREATE TABLE erased (
    meeting TEXT NOT NULL,
    node    TEXT NOT NULL,
    PRIMARY KEY (meeting, node)
);
-- Who sends an endpoint its events.
CREATE TABLE endpoints (
    endpoint TEXT PRIMARY KEY,
    node     TEXT NOT NULL,
    until    BIGINT NOT NULL -- by the database's clock
);
CREATE INDEX participants_present ON participants (node) WHERE left_at IS NULL;

-- +goose Down
DROP INDEX participants_present;
DROP TABLE endpoints;
DROP TABLE erased;
ALTER TABLE participants DROP COLUMN session;
ALTER TABLE participants DROP COLUMN node;
ALTER TABLE tracks DROP COLUMN node;
DROP TABLE nodes;
