-- The words of segments, for the search. SQLite only: PostgreSQL has an index of
-- its own for that.

-- +goose Up
CREATE VIRTUAL TABLE search USING fts5 (
    text,
    meeting UNINDEXED,
    track   UNINDEXED,
    n       UNINDEXED,
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO search (text, meeting, track, n) SELECT text, meeting, track, n FROM segments;

-- +goose Down
DROP TABLE search;
