package fsck

import (
	"fmt"
	"strings"
)

// derived are the tables whose every row follows from statements: the columns
// that find a row, those that it holds, and what a person finds the row by.
var derived = []struct {
	table     string
	key, rest []string
	rowid     bool
}{
	{"head", []string{"kid"}, []string{"epoch", "seq", "id", "idx", "at", "t1", "checked"}, false},
	{"trace", []string{"id"}, []string{"kid", "channel", "start", "preimage", "entry", "frontier", "last", "value", "erased", "broken"}, false},
	{"leaf", []string{"trace", "n"}, []string{"idx", "head", "t0", "t1", "readings"}, false},
	{"node", []string{"trace", "level", "n"}, []string{"node"}, false},
	{"sighting", []string{"idx", "record"}, []string{"epc", "tid", "kid", "antenna", "first", "last"}, true},
	{"event", []string{"idx"}, []string{"action", "time", "place", "step", "event_id", "doc", "seed", "corrects", "type", "verb", "disposition", "read_point", "biz_location", "parent"}, false},
	{"event_object", []string{"object", "idx", "list", "n"}, []string{"prev", "leaf"}, false},
	{"transfer", []string{"idx"}, []string{"at", "giver", "taker", "handover"}, false},
	{"transfer_object", []string{"object", "idx"}, []string{"idx"}, false},
	{"goose_db_version", []string{"id"}, []string{"version_id", "is_applied"}, false},
}

// compare holds the stored rows of the derived tables against those that were
// derived again.
func (c *checker) compare() error {
	for _, d := range derived {
		c.Progress("table "+d.table, 0, 1)
		key := func(alias string) string {
			var parts []string
			for _, k := range d.key {
				parts = append(parts, "quote("+alias+"."+k+")")
			}
			return strings.Join(parts, "||', '||")
		}
		var differ, on, names []string
		for _, k := range d.key {
			on = append(on, "m."+k+" IS w."+k)
		}
		for _, r := range d.rest {
			is := fmt.Sprintf("m.%s IS NOT w.%s", r, r)
			if r == "tid" { // rows from before there was the column have none
				is = "m.tid IS NOT NULL AND " + is
			}
			differ = append(differ, is)
			names = append(names, fmt.Sprintf("CASE WHEN %s THEN ', %s' ELSE '' END", is, r))
		}
		row := key("m")
		if d.rowid {
			row = "m.rowid"
		}
		// Two joins from the left: a full join has no use for the indexes.
		rows, err := query(c, "SELECT "+row+", w."+d.key[0]+" IS NULL, "+strings.Join(names, "||")+" FROM main."+d.table+" m LEFT JOIN want."+d.table+
			" w ON "+strings.Join(on, " AND ")+" WHERE w."+d.key[0]+" IS NULL OR "+strings.Join(differ, " OR "))
		if err != nil {
			c.rowf(d.table, "", "%v", err)
		}
		for _, r := range rows {
			if r[1] == int64(1) {
				c.rowf(d.table, fmt.Sprint(r[0]), "follows from no statement")
			} else {
				c.rowf(d.table, fmt.Sprint(r[0]), "not what the statements give: %s", strings.TrimPrefix(fmt.Sprint(r[2]), ", "))
			}
		}
		rows, err = query(c, "SELECT "+key("w")+" FROM want."+d.table+" w LEFT JOIN main."+d.table+" m ON "+strings.Join(on, " AND ")+" WHERE m."+d.key[0]+" IS NULL")
		if err != nil {
			c.rowf(d.table, "", "%v", err)
		}
		for _, r := range rows {
			c.rowf(d.table, fmt.Sprintf("%s = %v", strings.Join(d.key, ", "), r[0]), "missing")
		}
		c.Progress("table "+d.table, 1, 1)
	}
	return c.ctx.Err()
}
