CREATE TABLE events (
    at       TIMESTAMPTZ NOT NULL,
    kind     TEXT        NOT NULL CHECK (kind <> ''),
    exchange TEXT        NOT NULL,
    reason   TEXT        NOT NULL,
    count    BIGINT      NOT NULL CHECK (count > 0),
    PRIMARY KEY (at, kind, exchange, reason)
);

CREATE INDEX events_of_kinds ON events (kind, at);

COMMENT ON TABLE events IS 'What people want to look up later: failovers, restarts, refusals';
COMMENT ON COLUMN events.at IS 'When it happened, to the microsecond';
COMMENT ON COLUMN events.kind IS 'A stable word: failover, restart, quarantine, refusal, clock, book_failure, disagreement';
COMMENT ON COLUMN events.exchange IS 'Name of the source; empty where it concerns no single one';
COMMENT ON COLUMN events.reason IS 'A stable word or a sentence for people, by kind';
COMMENT ON COLUMN events.count IS 'Number of times; 1 but for refusals, which are told together';
