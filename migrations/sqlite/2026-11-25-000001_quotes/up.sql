-- Quotes that passed every gate. Times are microseconds since 1970-01-01 UTC; prices are plain decimals as text, exact
-- to 28 digits, in units of the direction's counter currency per unit of its base.
--
-- The key is natural: times of receipt are distinct within a market, so that what is written twice changes nothing.
CREATE TABLE quotes (
    exchange       TEXT    NOT NULL CHECK (exchange <> ''),
    direction      TEXT    NOT NULL CHECK (direction LIKE '_%-_%'),
    received_at_us INTEGER NOT NULL,
    -- The exchange's own time; NULL where it gave none.
    quoted_at_us   INTEGER,
    -- NULL where the source has no book.
    bid            TEXT CHECK (CAST(bid AS REAL) > 0),
    ask            TEXT CHECK (CAST(ask AS REAL) > 0),
    -- Price of the last trade, or the one price of a source without a book.
    last           TEXT CHECK (CAST(last AS REAL) > 0),
    -- From when until before when an official fixing applies; NULL for a market's quote.
    valid_from_us  INTEGER,
    valid_until_us INTEGER,
    PRIMARY KEY (exchange, direction, received_at_us),
    CHECK (bid IS NOT NULL OR ask IS NOT NULL OR last IS NOT NULL),
    CHECK ((valid_from_us IS NULL) = (valid_until_us IS NULL))
) STRICT, WITHOUT ROWID;

-- Fixings are few, and one of days ago may still apply: found without a walk through the days of a busy market.
CREATE INDEX quotes_of_fixings ON quotes (exchange, direction, received_at_us) WHERE valid_from_us IS NOT NULL;
