package alarm

import (
	"slices"
	"strings"

	"trailmark/gateway/internal/store"
	"trailmark/statement"
	"trailmark/trace"
)

// pair is what is remembered of two neighbouring channels.
type pair struct {
	At      int64   `json:"at"` // compared up to here, by the devices' clocks
	Machine machine `json:"machine"`
}

func pairSubject(device, channel, other, rule string) string {
	return strings.Join([]string{"pair", rule, device, channel, other}, "\n")
}

func ruleOf(key string) string {
	id, _, _ := strings.Cut(key, "\n")
	return id
}

func channelOf(key string) string {
	_, rest, _ := strings.Cut(key, "\n")
	channel, _, _ := strings.Cut(rest, "\n")
	return channel
}

// neighbours compares the frame's channels with those next to them in the zone's
// plan that measure the same. It compares what both have told so far, in order of
// time: which of two devices was heard first makes no difference.
func (f *frameJudge) neighbours(r *Rule) error {
	if f.plan == nil {
		return nil
	}
	for _, z := range f.plan.Zones {
		if len(r.Zones) > 0 && !slices.Contains(r.Zones, z.ID) {
			continue
		}
		var same []entry
		for _, c := range z.Channels {
			if c.Unit == r.Unit && (len(r.Channels) == 0 || slices.Contains(r.Channels, c.Name)) {
				same = append(same, entry{c, z.ID})
			}
		}
		for i := 1; i < len(same); i++ {
			a, b := same[i-1], same[i]
			if slices.Contains(f.d.Kids, a.Device) || slices.Contains(f.d.Kids, b.Device) {
				if err := f.compare(r, a, b); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *frameJudge) compare(r *Rule, a, b entry) error {
	subjectA, err := f.subjectOf(a.Device)
	if err != nil || subjectA == "" {
		return err
	}
	subjectB, err := f.subjectOf(b.Device)
	if err != nil || subjectB == "" {
		return err
	}
	da, err := f.judge.device(subjectA)
	if err != nil {
		return err
	}
	db, err := f.judge.device(subjectB)
	if err != nil {
		return err
	}
	lastA, lastB := da.Channels[a.Name], db.Channels[b.Name]
	if lastA == nil || lastB == nil || lastA.First == 0 || lastB.First == 0 {
		return nil
	}
	other := b.Name
	if subjectA != subjectB {
		other = subjectB + " " + b.Name
	}
	subject := pairSubject(subjectA, a.Name, other, r.ID)
	p := f.pairs[subject]
	if p == nil {
		p = new(pair)
		if _, err := f.tx.AlarmState(subject, p); err != nil {
			return err
		}
		if p.Machine.Rule != r.hash {
			*p = pair{At: max(lastA.First, lastB.First, f.rules.at) - 1, Machine: machine{Rule: r.hash}}
		}
		f.pairs[subject] = p
	}
	to := min(lastA.At, lastB.At)
	if to <= p.At {
		return nil
	}
	about := about{device: subjectA, channel: a.Name, other: other, zone: a.zone, unit: r.Unit, index: f.row.Index, kids: da.Kids}
	spansA, spansB, err := f.spans(da.Kids, db.Kids, a, b, p.At, to)
	if err != nil {
		return err
	}
	for len(spansA) > 0 && len(spansB) > 0 {
		x, y := spansA[0], spansB[0]
		from, until := max(x.from, y.from, p.At), min(x.at, y.at, to)
		if from < until {
			differ := max(x.value-y.value, y.value-x.value)
			if err := f.hold(r, &p.Machine, about, from, until, differ >= int64(*r.Differ), &differ); err != nil {
				return err
			}
		}
		if x.at <= y.at {
			spansA = spansA[1:]
		}
		if y.at <= x.at {
			spansB = spansB[1:]
		}
	}
	p.At = to
	return nil
}

// subjectOf is the device that a key is of; "": nobody said.
func (f *frameJudge) subjectOf(kid statement.Hash) (string, error) {
	if slices.Contains(f.d.Kids, kid) {
		return f.subject, nil
	}
	if s, ok := f.e.subjects[kid]; ok {
		return s, nil
	}
	rows, err := f.tx.KindBelow(statement.KindIdentity, f.row.Index)
	if err != nil {
		return "", err
	}
	for _, row := range rows {
		s, err := statement.Parse(row.Data)
		if err != nil {
			f.e.damaged(row, err)
			continue
		}
		id, err := s.Identity()
		if err != nil {
			f.e.damaged(row, err)
			continue
		}
		f.e.subjects[id.Key.ID()] = id.Subject
	}
	return f.e.subjects[kid], nil
}

// spans are the readings of two channels with a part in (from, to], of those
// blocks only that have one of the other channel beside them: after months of
// which one has nothing, there is little to read.
func (f *frameJudge) spans(kidsA, kidsB []statement.Hash, a, b entry, from, to int64) (x, y []item, err error) {
	blocksA, err := f.blocks(kidsA, a.Name, from, to)
	if err != nil {
		return nil, nil, err
	}
	blocksB, err := f.blocks(kidsB, b.Name, from, to)
	if err != nil {
		return nil, nil, err
	}
	if x, err = f.readings(blocksA, blocksB, a); err != nil {
		return nil, nil, err
	}
	y, err = f.readings(blocksB, blocksA, b)
	return x, y, err
}

func (f *frameJudge) blocks(kids []statement.Hash, channel string, from, to int64) ([]store.Block, error) {
	var out []store.Block
	for _, kid := range kids {
		found, err := f.tx.BlocksBelow(kid, channel, from, to, f.row.Index+1)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	out = slices.DeleteFunc(out, func(b store.Block) bool { return b.Start.Basis != trace.Wall })
	slices.SortStableFunc(out, func(p, q store.Block) int { return int(min(1, max(-1, p.Digest.T1-q.Digest.T1))) })
	return out, nil
}

func (f *frameJudge) readings(of, beside []store.Block, c entry) ([]item, error) {
	var out []item
	for _, b := range of {
		for len(beside) > 0 && beside[0].Digest.T1 <= b.Digest.T0 {
			beside = beside[1:]
		}
		if len(beside) == 0 || beside[0].Digest.T0 >= b.Digest.T1 {
			continue
		}
		row, err := f.tx.Statement(b.Index)
		if err != nil {
			return nil, err
		}
		d, err := row.Delivery()
		if err != nil {
			f.e.damaged(row, err)
			continue
		}
		one := &frameJudge{entries: []entry{c}}
		for _, it := range one.items(d.Contents) {
			if it.happens == nil && it.name == c.Name {
				out = append(out, it)
			}
		}
	}
	return out, nil
}
