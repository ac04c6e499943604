-- +goose Up
-- Events of goods. What a statement signs of an event stands here again to be
-- searched; the document and its seed are nobody's but the gateway's, and the
-- document, which lists siblings, may go while every proof stays.
CREATE TABLE event (
  idx      INTEGER PRIMARY KEY,  -- statement
  action   INTEGER NOT NULL,
  time     INTEGER NOT NULL,     -- ms
  place    TEXT NOT NULL,        -- '': none
  step     TEXT NOT NULL,
  event_id TEXT UNIQUE,          -- null: of an event that declares another to be wrong, or whose document was never here
  doc      BLOB,                 -- JSON-LD; null once erased, and then all that follows of it
  seed     BLOB,
  corrects TEXT,                 -- eventID of the event that this one declares to be wrong
  type     TEXT,
  verb     TEXT,                 -- action of the standard
  disposition  TEXT,
  read_point   TEXT,
  biz_location TEXT,
  parent       TEXT
);
CREATE INDEX event_time ON event (time, idx);
CREATE INDEX event_corrects ON event (corrects) WHERE corrects IS NOT NULL;

CREATE TABLE event_object (
  object TEXT NOT NULL,
  idx    INTEGER NOT NULL,       -- statement
  list   INTEGER NOT NULL,       -- 5 by name, 6 items, 7 inputs: their keys on the wire
  n      INTEGER NOT NULL,
  prev   BLOB NOT NULL,          -- statement id of the object's previous event
  leaf   BLOB,                   -- null for list 5
  PRIMARY KEY (object, idx, list, n)
) WITHOUT ROWID;
CREATE INDEX event_object_place ON event_object (idx, list, n);

CREATE TABLE transfer (            -- handovers and acceptances
  idx      INTEGER PRIMARY KEY,  -- statement
  at       INTEGER NOT NULL,     -- ms
  giver    TEXT NOT NULL,
  taker    TEXT NOT NULL,
  handover BLOB                  -- of an acceptance: the handover's statement id
);

CREATE TABLE transfer_object (
  object TEXT NOT NULL,
  idx    INTEGER NOT NULL,       -- statement
  PRIMARY KEY (object, idx)
) WITHOUT ROWID;

CREATE TABLE capture (             -- what was asked to be captured, and what became of it
  id       TEXT PRIMARY KEY,
  at       INTEGER NOT NULL,     -- ms
  job      BLOB NOT NULL         -- JSON
) WITHOUT ROWID;
CREATE INDEX capture_time ON capture (at);

-- +goose Down
DROP TABLE event; DROP TABLE event_object; DROP TABLE transfer; DROP TABLE transfer_object; DROP TABLE capture;
