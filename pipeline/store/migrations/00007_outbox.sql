-- What webhooks are still to be told: a row for each endpoint and event, written
-- with the change that it tells of.

-- +goose Up
CREATE TABLE outbox (
    n          INTEGER PRIMARY KEY, -- in the order of the events; PostgreSQL: GENERATED ALWAYS AS IDENTITY
    endpoint   TEXT NOT NULL,
    meeting    TEXT NOT NULL REFERENCES meetings (id),
    id         TEXT NOT NULL, -- of the event, the same at each endpoint
    type       TEXT NOT NULL,
    body       TEXT NOT NULL, -- JSON, as it is sent
    created_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0, -- that the endpoint refused
    next_at    BIGINT NOT NULL DEFAULT 0 -- not before that time
);
CREATE INDEX outbox_by_endpoint ON outbox (endpoint, next_at, n);
CREATE INDEX outbox_by_meeting ON outbox (meeting);

-- +goose Down
DROP TABLE outbox;
