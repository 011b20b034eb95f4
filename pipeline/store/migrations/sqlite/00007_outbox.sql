-- What webhooks are still to be told: a row for each endpoint and event, written
-- with the change that it tells of.

-- +goose Up
CREATE TABLE outbox (
    -- In the order of the events, and never used again: a row that is erased while
    -- it is sent must not be taken for another. PostgreSQL: GENERATED ALWAYS AS IDENTITY.
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint   TEXT NOT NULL,
    meeting    TEXT NOT NULL REFERENCES meetings (id),
    id         TEXT NOT NULL, -- of the event, the same at each endpoint
    type       TEXT NOT NULL,
    body       TEXT NOT NULL, -- JSON, as it is sent
    created_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0, -- that the endpoint refused
    next_at    BIGINT NOT NULL DEFAULT 0 -- not before that time
);
CREATE INDEX outbox_in_order ON outbox (endpoint, n);
CREATE INDEX outbox_by_time ON outbox (endpoint, next_at);
CREATE INDEX outbox_by_meeting ON outbox (meeting);

-- +goose Down
DROP TABLE outbox;
