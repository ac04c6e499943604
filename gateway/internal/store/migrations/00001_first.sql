-- +goose Up
-- Append-only rows and small heads: a clustered key of (device, seq) costs a
-- factor of five in write speed.
CREATE TABLE statement (
  idx      INTEGER PRIMARY KEY,  -- also the ledger index
  id       BLOB NOT NULL,
  kind     TEXT NOT NULL,
  kid      BLOB NOT NULL,
  epoch    INTEGER NOT NULL,
  seq      INTEGER NOT NULL,     -- of a frame, else −1
  received INTEGER NOT NULL,     -- ms
  data     BLOB NOT NULL,        -- the statement
  extra    BLOB                  -- of a frame: the up message's seed and bodies
);
CREATE INDEX statement_stream ON statement (kid, epoch, seq);
CREATE INDEX statement_kind ON statement (kind, idx) WHERE kind <> 'frame';

CREATE TABLE head (                -- newest accepted frame of a device
  kid     BLOB PRIMARY KEY,
  epoch   INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  id      BLOB NOT NULL,
  idx     INTEGER NOT NULL,
  at      INTEGER NOT NULL,      -- received, ms
  t1      INTEGER NOT NULL,
  checked INTEGER NOT NULL       -- ledger size that the device said it had verified
) WITHOUT ROWID;

CREATE TABLE parked (              -- frames that wait for an earlier one
  kid   BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  seq   INTEGER NOT NULL,
  data  BLOB NOT NULL,
  PRIMARY KEY (kid, epoch, seq)
) WITHOUT ROWID;

CREATE TABLE fork (                -- second statements for one seq, kept as evidence
  id       BLOB PRIMARY KEY,
  kid      BLOB NOT NULL,
  epoch    INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  received INTEGER NOT NULL,
  data     BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE trace (
  id       INTEGER PRIMARY KEY,
  kid      BLOB NOT NULL,
  channel  TEXT NOT NULL,
  start    BLOB NOT NULL,
  preimage BLOB NOT NULL,
  entry    BLOB,                 -- the plan's channel entry, null: none
  frontier BLOB NOT NULL,
  last     INTEGER NOT NULL,     -- time of the last reading, ms
  value    INTEGER NOT NULL,     -- its value, for the status page
  broken   INTEGER NOT NULL DEFAULT 0 -- blocks were lost on the card: it cannot be extended here
);
CREATE INDEX trace_channel ON trace (kid, channel, id);

CREATE TABLE leaf (                -- one block of a trace
  trace INTEGER NOT NULL,
  n     INTEGER NOT NULL,
  idx   INTEGER NOT NULL,        -- statement
  head  INTEGER NOT NULL,        -- record number of the head after this block
  t0    INTEGER NOT NULL,
  t1    INTEGER NOT NULL,
  readings INTEGER NOT NULL,
  PRIMARY KEY (trace, n)
) WITHOUT ROWID;
CREATE INDEX leaf_time ON leaf (trace, t1);

CREATE TABLE node (                -- perfect subtrees of a trace
  trace INTEGER NOT NULL,
  level INTEGER NOT NULL,
  n     INTEGER NOT NULL,
  node  BLOB NOT NULL,
  PRIMARY KEY (trace, level, n)
) WITHOUT ROWID;

CREATE TABLE sighting (
  epc     BLOB NOT NULL,
  idx     INTEGER NOT NULL,      -- statement
  record  INTEGER NOT NULL,
  kid     BLOB NOT NULL,
  antenna TEXT NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL
);
CREATE INDEX sighting_epc ON sighting (epc, first);

CREATE TABLE anchor (
  size   INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  chain  TEXT NOT NULL,
  root   BLOB NOT NULL,
  height INTEGER NOT NULL,
  time   INTEGER NOT NULL,       -- ms
  block  BLOB NOT NULL,
  tx     BLOB NOT NULL,
  note   BLOB NOT NULL
);

CREATE TABLE login (               -- a device's password at the broker
  kid  BLOB PRIMARY KEY,
  hash BLOB NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE statement; DROP TABLE head; DROP TABLE parked; DROP TABLE fork; DROP TABLE trace;
DROP TABLE leaf; DROP TABLE node; DROP TABLE sighting; DROP TABLE anchor; DROP TABLE login;
