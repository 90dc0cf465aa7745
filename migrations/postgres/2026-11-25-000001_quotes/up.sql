-- The key is natural: times of receipt are distinct within a market, so that what is written twice changes nothing.
-- One partition per day of UTC, which RateBook makes and drops itself: dropping a day costs nothing, however large.
CREATE TABLE quotes (
    exchange    TEXT        NOT NULL CHECK (exchange <> ''),
    direction   TEXT        NOT NULL CHECK (direction LIKE '_%-_%'),
    received_at TIMESTAMPTZ NOT NULL,
    quoted_at   TIMESTAMPTZ,
    bid         NUMERIC CHECK (bid > 0),
    ask         NUMERIC CHECK (ask > 0),
    last        NUMERIC CHECK (last > 0),
    valid_from  TIMESTAMPTZ,
    valid_until TIMESTAMPTZ,
    PRIMARY KEY (exchange, direction, received_at),
    CHECK (bid IS NOT NULL OR ask IS NOT NULL OR last IS NOT NULL),
    CHECK ((valid_from IS NULL) = (valid_until IS NULL))
) PARTITION BY RANGE (received_at);

-- Fixings are few, and one of days ago may still apply: found without a walk through the days of a busy market.
CREATE INDEX quotes_of_fixings ON quotes (exchange, direction, received_at) WHERE valid_from IS NOT NULL;

COMMENT ON TABLE quotes IS 'Quotes that passed every gate, one partition per day of UTC';
COMMENT ON COLUMN quotes.exchange IS 'Name of the source, as in the settings';
COMMENT ON COLUMN quotes.direction IS 'Base and counter currency, such as BTC-USDT';
COMMENT ON COLUMN quotes.received_at IS 'When RateBook received it, to the microsecond; distinct within a market';
COMMENT ON COLUMN quotes.quoted_at IS 'The exchange''s own time, to the microsecond; NULL where it gave none';
COMMENT ON COLUMN quotes.bid IS 'Best price of a buyer, in counter currency per unit of base; NULL without a book';
COMMENT ON COLUMN quotes.ask IS 'Best price of a seller, in counter currency per unit of base; NULL without a book';
COMMENT ON COLUMN quotes.last IS 'Price of the last trade, or the one price of a source without a book, in counter currency per unit of base';
COMMENT ON COLUMN quotes.valid_from IS 'First moment at which an official fixing applies; NULL for a market''s quote';
COMMENT ON COLUMN quotes.valid_until IS 'Moment from which an official fixing applies no longer; NULL for a market''s quote';
