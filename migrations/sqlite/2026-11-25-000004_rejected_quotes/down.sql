DROP TABLE rejected_quotes;
