-- +goose Up
CREATE TABLE alarm_position (      -- how far the alarms have judged; one row
  one   INTEGER PRIMARY KEY CHECK (one = 0),
  next  INTEGER NOT NULL,          -- first statement that was not judged yet
  rules INTEGER NOT NULL           -- the rules that judged last
);

CREATE TABLE alarm_rules (         -- every set of rules that was ever in force
  n        INTEGER PRIMARY KEY,
  from_idx INTEGER NOT NULL,       -- first statement that it judges
  at       INTEGER NOT NULL,       -- ms
  by       TEXT NOT NULL,
  text     BLOB NOT NULL
);

CREATE TABLE alarm_rule (          -- single rules as alarms name them
  hash BLOB PRIMARY KEY,
  text BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE alarm_state (         -- what the next statement about a subject is judged against
  subject TEXT PRIMARY KEY,        -- a device's identity, or a pair of channels
  heard   INTEGER,                 -- a device's newest frame came in, ms; null: not a device
  data    BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX alarm_heard ON alarm_state (heard) WHERE heard IS NOT NULL;

CREATE TABLE alarm_fork (          -- fork evidence that was judged
  id BLOB PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE alarm_window (        -- maintenance windows, by their statement
  id     BLOB NOT NULL,
  idx    INTEGER NOT NULL,
  issuer TEXT NOT NULL,
  opens  INTEGER NOT NULL,         -- ms
  closes INTEGER NOT NULL,
  object TEXT NOT NULL,            -- URI of a zone or a device
  why    TEXT NOT NULL,
  PRIMARY KEY (id, object)
) WITHOUT ROWID;

CREATE TABLE alarm (
  n         INTEGER PRIMARY KEY,
  id        TEXT NOT NULL UNIQUE,
  rule      TEXT NOT NULL,
  kind      TEXT NOT NULL,
  severity  TEXT NOT NULL,
  rule_hash BLOB NOT NULL,
  device    TEXT NOT NULL,         -- identity
  channel   TEXT NOT NULL,
  other     TEXT NOT NULL,         -- neighbour
  zone      TEXT NOT NULL,
  unit      TEXT NOT NULL,
  basis     INTEGER NOT NULL,      -- of the times: 0 the device's clock, 1 the gateway's
  start     INTEGER NOT NULL,
  triggered INTEGER NOT NULL,
  ended     INTEGER NOT NULL,      -- 0: the condition goes on
  reason    TEXT NOT NULL,         -- why it ended
  measured  INTEGER NOT NULL,      -- ms that counted
  peak      INTEGER,               -- furthest value
  peak_at   INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  idx       INTEGER NOT NULL,      -- statement that triggered it
  raised    INTEGER NOT NULL,      -- by the gateway's clock
  window    BLOB,                  -- the maintenance window that held its notices back
  acked     INTEGER NOT NULL,      -- 0: not acknowledged
  closed    INTEGER NOT NULL       -- 1: nothing more to do
);
CREATE INDEX alarm_open ON alarm (device) WHERE ended = 0;
CREATE INDEX alarm_active ON alarm (n) WHERE closed = 0;

CREATE TABLE alarm_log (           -- what people did with an alarm
  n       INTEGER PRIMARY KEY,
  alarm   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  what    TEXT NOT NULL,
  by      TEXT NOT NULL,
  comment TEXT NOT NULL
);
CREATE INDEX alarm_log_alarm ON alarm_log (alarm, n);

CREATE TABLE notice (              -- to be sent to one target
  id       TEXT PRIMARY KEY,       -- idempotency key
  alarm    TEXT NOT NULL,
  target   TEXT NOT NULL,
  what     TEXT NOT NULL,          -- start, escalation, end, test
  due      INTEGER NOT NULL,       -- ms
  attempts INTEGER NOT NULL,
  done     TEXT NOT NULL,          -- '', sent, cancelled
  at       INTEGER NOT NULL,       -- of the newest attempt
  error    TEXT NOT NULL,
  data     BLOB NOT NULL           -- what to say, as it was then
) WITHOUT ROWID;
CREATE INDEX notice_due ON notice (due) WHERE done = '';
CREATE INDEX notice_alarm ON notice (alarm);

CREATE TABLE notice_target (
  id       TEXT PRIMARY KEY,
  failures INTEGER NOT NULL,       -- in a row
  retry    INTEGER NOT NULL,       -- nothing is sent before, ms
  parked   INTEGER NOT NULL,       -- since, ms; 0: not
  error    TEXT NOT NULL
) WITHOUT ROWID;

-- +goose Down
DROP TABLE alarm_position; DROP TABLE alarm_rules; DROP TABLE alarm_rule; DROP TABLE alarm_state; DROP TABLE alarm_fork; DROP TABLE alarm_window;
DROP TABLE alarm; DROP TABLE alarm_log; DROP TABLE notice; DROP TABLE notice_target;
