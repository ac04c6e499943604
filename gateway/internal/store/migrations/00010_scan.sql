-- +goose Up
-- Two tags of one number are told apart by what their makers burnt in. Of a
-- sighting that was stored before this, its record says it.
ALTER TABLE sighting ADD COLUMN tid BLOB;

-- How often an item's page was opened, and nothing of who opened it.
CREATE TABLE scan (
  object TEXT NOT NULL,
  day    INTEGER NOT NULL,       -- of UTC, since 1970
  state  TEXT NOT NULL,          -- custody, sold or unknown: what was on record of the item then
  count  INTEGER NOT NULL,
  PRIMARY KEY (object, day, state)
) WITHOUT ROWID;
CREATE TABLE scanned (
  object TEXT PRIMARY KEY,
  first  INTEGER NOT NULL        -- ms
) WITHOUT ROWID;

CREATE TABLE finding (             -- of copies and diversions
  id     BLOB PRIMARY KEY,       -- of what it says: found twice, it is there once
  kind   TEXT NOT NULL,
  object TEXT NOT NULL,
  at     INTEGER NOT NULL,       -- ms
  found  INTEGER NOT NULL,       -- ms
  detail BLOB NOT NULL,          -- JSON
  told   INTEGER NOT NULL        -- 1: to the alarms
);
CREATE INDEX finding_object ON finding (object, at);
CREATE INDEX finding_untold ON finding (found, id) WHERE told = 0;
CREATE TABLE searched (            -- how far each table was searched for them
  source TEXT PRIMARY KEY,       -- sighting or event
  next   INTEGER NOT NULL        -- row
) WITHOUT ROWID;

-- +goose Down
DROP TABLE scan; DROP TABLE scanned; DROP TABLE finding; DROP TABLE searched;
ALTER TABLE sighting DROP COLUMN tid;
