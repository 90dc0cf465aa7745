CREATE TABLE rejected_quotes (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rejected_at TIMESTAMPTZ NOT NULL,
    reason      TEXT        NOT NULL,
    record      TEXT        NOT NULL
);

COMMENT ON TABLE rejected_quotes IS 'Records that broke a rule of the database and were set aside';
COMMENT ON COLUMN rejected_quotes.id IS 'Number, growing';
COMMENT ON COLUMN rejected_quotes.rejected_at IS 'When it was set aside';
COMMENT ON COLUMN rejected_quotes.reason IS 'What the database said';
COMMENT ON COLUMN rejected_quotes.record IS 'The whole record, as JSON';
