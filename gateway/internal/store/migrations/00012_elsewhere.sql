-- +goose Up
-- Anchors on chains other than the embedded one. A row is there before its
-- checkpoint is sent, so that what a chain takes can be shown after any crash.
CREATE TABLE elsewhere (
  chain    TEXT NOT NULL,
  origin   TEXT NOT NULL,
  size     INTEGER NOT NULL,
  root     BLOB NOT NULL,
  note     BLOB NOT NULL,
  height   INTEGER NOT NULL,  -- 0: in no final block
  time     INTEGER NOT NULL,  -- of that block, ms
  block    BLOB NOT NULL,
  tx       BLOB NOT NULL,
  evidence BLOB NOT NULL,     -- empty: the chain's endpoints could not prove it
  PRIMARY KEY (chain, origin, size)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE elsewhere;
