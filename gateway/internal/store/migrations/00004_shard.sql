-- +goose Up
-- Rows have one order for ever; the ledgers of half a year each take them one
-- after the other. size and root are the newest head that was signed, kept apart
-- from the ledger's own files: it is moved by one compare-and-swap.
CREATE TABLE shard (
  n      INTEGER PRIMARY KEY,    -- 0, 1, …
  origin TEXT NOT NULL UNIQUE,
  first  INTEGER NOT NULL,       -- the row that is its entry 0
  size   INTEGER NOT NULL,       -- 0: nothing signed yet
  root   BLOB NOT NULL
);

CREATE TABLE anchor_by_origin (
  origin TEXT NOT NULL,
  size   INTEGER NOT NULL,
  chain  TEXT NOT NULL,
  root   BLOB NOT NULL,
  height INTEGER NOT NULL,
  time   INTEGER NOT NULL,       -- ms
  block  BLOB NOT NULL,
  tx     BLOB NOT NULL,
  note   BLOB NOT NULL,
  PRIMARY KEY (origin, size)
);
INSERT INTO anchor_by_origin (origin, size, chain, root, height, time, block, tx, note)
  SELECT origin, size, chain, root, height, time, block, tx, note FROM anchor;
DROP TABLE anchor;
ALTER TABLE anchor_by_origin RENAME TO anchor;

-- One frame for a number, whoever writes: what a program forgets to check, this
-- does not.
DROP INDEX statement_stream;
CREATE UNIQUE INDEX statement_stream ON statement (kid, epoch, seq) WHERE seq >= 0;
CREATE INDEX statement_entry ON statement (sha256(data)); -- an entry of the ledger, by its hash

-- +goose Down
DROP INDEX statement_entry;
DROP INDEX statement_stream;
CREATE INDEX statement_stream ON statement (kid, epoch, seq);
CREATE TABLE anchor_by_size (
  size   INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  chain  TEXT NOT NULL,
  root   BLOB NOT NULL,
  height INTEGER NOT NULL,
  time   INTEGER NOT NULL,
  block  BLOB NOT NULL,
  tx     BLOB NOT NULL,
  note   BLOB NOT NULL
);
INSERT INTO anchor_by_size (size, origin, chain, root, height, time, block, tx, note)
  SELECT size, origin, chain, root, height, time, block, tx, note FROM anchor WHERE origin = (SELECT origin FROM shard WHERE n = 0);
DROP TABLE anchor;
ALTER TABLE anchor_by_size RENAME TO anchor;
DROP TABLE shard;
