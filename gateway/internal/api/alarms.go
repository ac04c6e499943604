package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"trailmark/gateway/internal/route"
)

// Alarms is what the pages ask of the alarms. Errors that the client can mend are
// *ClientError.
type Alarms interface {
	// List are alarms, newest first: "active", "ended" or "" for all, raised before
	// number before, 0 for the newest.
	List(ctx context.Context, which string, before int64, limit int) ([]Alarm, error)
	Get(ctx context.Context, id string) (AlarmDetail, error)
	// Acknowledge and Close are durable when they return nil.
	Acknowledge(ctx context.Context, id, by, comment string) error
	Close(ctx context.Context, id, by, comment string) error
}

// Names are a rule's words.
type Names struct {
	ZH string `json:"zh-CN"`
	EN string `json:"en"`
}

// Alarm is one alarm as the API gives it.
type Alarm struct {
	Number     int64       `json:"number"`
	ID         string      `json:"id"`
	Rule       string      `json:"rule"`
	RuleSHA256 string      `json:"rule_sha256"`
	Kind       string      `json:"kind"`
	Severity   string      `json:"severity"`
	Name       Names       `json:"name"`
	Device     string      `json:"device"`
	Channel    string      `json:"channel,omitempty"`
	Neighbour  string      `json:"neighbour,omitempty"`
	Zone       string      `json:"zone,omitempty"`
	Clock      string      `json:"clock"` // whose start, triggered and ended are: device or gateway
	Start      time.Time   `json:"start"`
	Triggered  time.Time   `json:"triggered"`
	Ended      *time.Time  `json:"ended,omitempty"`
	Reason     string      `json:"reason,omitempty"` // why it ended
	ReasonName *Names      `json:"reason_name,omitempty"`
	MeasuredMS int64       `json:"measured_ms"`
	Peak       json.Number `json:"peak,omitempty"`
	PeakAt     *time.Time  `json:"peak_at,omitempty"`
	Unit       string      `json:"unit,omitempty"`
	Count      int64       `json:"count"`
	Statement  uint64      `json:"statement"` // ledger index of the one that triggered it
	Raised     time.Time   `json:"raised"`    // by the gateway's clock
	// Maintenance is the statement id of the window that held its notices back.
	Maintenance  string     `json:"maintenance,omitempty"`
	Acknowledged *time.Time `json:"acknowledged,omitempty"`
	Closed       bool       `json:"closed"` // nothing more to do
}

// AlarmDetail is one alarm with its history.
type AlarmDetail struct {
	Alarm
	RuleText json.RawMessage `json:"rule_text"` // that rule_sha256 is of
	Acts     []AlarmAct      `json:"acts,omitempty"`
	Notices  []AlarmNotice   `json:"notices,omitempty"`
	Readings *AlarmReadings  `json:"readings,omitempty"`
}

// AlarmAct is what somebody did.
type AlarmAct struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	By      string    `json:"by"`
	Comment string    `json:"comment,omitempty"`
}

// AlarmNotice is one notice and what became of it.
type AlarmNotice struct {
	Target   string    `json:"target"`
	What     string    `json:"what"`
	Due      time.Time `json:"due"`
	Attempts int       `json:"attempts"`
	State    string    `json:"state"` // waiting, sent or cancelled
	Error    string    `json:"error,omitempty"`
}

// AlarmReadings is what the channel's readings come to from the alarm's start to
// its end.
type AlarmReadings struct {
	Count  int         `json:"count"`
	Min    json.Number `json:"min"`
	Max    json.Number `json:"max"`
	Mean   json.Number `json:"mean"`
	MKT    json.Number `json:"mkt,omitempty"`
	Energy float64     `json:"mkt_kj_mol,omitempty"`
}

const (
	maxAlarmPage = 200
	maxAlarmBody = 16 << 10
)

var alarmID = regexp.MustCompile(`^[0-9a-f]{32}$`)

var tagAlarms = route.Words{ZH: "报警", EN: "Alarms"}

// alarmPage is a page of alarms.
type alarmPage struct {
	Alarms []Alarm `json:"alarms"`
	Next   string  `json:"next,omitempty"` // the address of the next page
}

// alarmAct is what somebody wants done with an alarm.
type alarmAct struct {
	By      string `json:"by"`
	Comment string `json:"comment"`
}

// alarmRoutes are the addresses of alarms.
func (s *server) alarmRoutes() route.Table {
	id := route.Param{Name: "id", In: "path", Says: route.Words{ZH: "报警编号，32 位十六进制", EN: "id of the alarm, 32 hex digits"}, Pattern: "^[0-9a-f]{32}$"}
	unknown := route.Refusal(404, "没有这条报警", "no such alarm")
	bad := route.Refusal(400, "内容有误，说明含提示", "something is wrong; the detail says what")
	one := route.Answer{Status: 200, Type: jsonType, Says: route.Words{ZH: "报警及其经过", EN: "the alarm with its history"}, Schema: route.Schema[AlarmDetail]()}
	act := func(path, zh, en string, do func(ctx context.Context, id, by, comment string) error) route.Route {
		return route.Route{Method: "POST", Path: path, Tag: tagAlarms, Says: route.Words{ZH: zh, EN: en}, Params: []route.Param{id},
			Body:    &route.Body{Types: []string{jsonType}, Max: maxAlarmBody, Schema: route.Schema[alarmAct](), Says: route.Words{ZH: "谁、为什么", EN: "who, and what for"}},
			Answers: []route.Answer{one, bad, unknown, route.Refusal(403, "只有本机用户可以处理报警", "only users of this machine may act")},
			Serve:   func(w http.ResponseWriter, r *http.Request) error { return s.alarmAct(w, r, do) }}
	}
	return route.Table{
		{Method: "GET", Path: "/api/alarms", Tag: tagAlarms, Says: route.Words{ZH: "报警清单，新的在前", EN: "The alarms, newest first"},
			Params: []route.Param{
				{Name: "filter", In: "query", Says: route.Words{ZH: "active、ended 或 all", EN: "active, ended or all"}},
				{Name: "limit", In: "query", Says: route.Words{ZH: "最多几条，1 到 200", EN: "at most so many, 1 to 200"}},
				{Name: "before", In: "query", Says: route.Words{ZH: "此编号之前的", EN: "those before this number"}}},
			Answers: []route.Answer{{Status: 200, Type: jsonType, Says: route.Words{ZH: "清单", EN: "the list"}, Schema: route.Schema[alarmPage]()}, bad}, Serve: s.alarmList},
		{Method: "GET", Path: "/api/alarms/{id}", Tag: tagAlarms, Says: route.Words{ZH: "一条报警", EN: "One alarm"}, Params: []route.Param{id},
			Answers: []route.Answer{one, unknown}, Serve: s.alarmGet},
		act("/api/alarms/{id}/acknowledge", "确认一条报警", "Acknowledge an alarm", s.Alarms.Acknowledge),
		act("/api/alarms/{id}/close", "关闭一条报警", "Close an alarm", s.Alarms.Close),
	}
}

func (s *server) alarmList(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	which, limit, before := "", 50, int64(0)
	for key, values := range q {
		var err error
		v := values[0]
		switch key {
		case "filter":
			if which = v; v != "active" && v != "ended" && v != "all" {
				return &ClientError{Status: http.StatusBadRequest, Detail: fmt.Sprintf("filter %q, want active, ended or all", v)}
			}
		case "limit":
			if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxAlarmPage {
				return &ClientError{Status: http.StatusBadRequest, Detail: fmt.Sprintf("limit %q, want 1 to %d", v, maxAlarmPage)}
			}
		case "before":
			if before, err = strconv.ParseInt(v, 10, 64); err != nil || before < 1 {
				return &ClientError{Status: http.StatusBadRequest, Detail: fmt.Sprintf("before %q, want the number of an alarm", v)}
			}
		default:
			return &ClientError{Status: http.StatusBadRequest, Detail: fmt.Sprintf("parameter %q is not known; there are filter, limit and before", key)}
		}
	}
	if which == "all" {
		which = ""
	}
	list, err := s.Alarms.List(r.Context(), which, before, limit)
	if err != nil {
		return err
	}
	out := alarmPage{Alarms: list}
	if list == nil {
		out.Alarms = []Alarm{}
	}
	if len(list) == limit {
		next := url.Values{"limit": {strconv.Itoa(limit)}, "before": {strconv.FormatInt(list[len(list)-1].Number, 10)}}
		if which != "" {
			next.Set("filter", which)
		}
		out.Next = "/api/alarms?" + next.Encode()
	}
	return writeJSON(w, out)
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return write(w, "application/json", append(body, '\n'))
}

func (s *server) alarmGet(w http.ResponseWriter, r *http.Request) error {
	d, err := s.alarm(r)
	if err != nil {
		return err
	}
	return writeJSON(w, d)
}

// alarm is the one that a request names. Who did what and who is told is for the
// staff of this machine, as long as there are no accounts.
func (s *server) alarm(r *http.Request) (AlarmDetail, error) {
	id := r.PathValue("id")
	if !alarmID.MatchString(id) {
		return AlarmDetail{}, &ClientError{Status: http.StatusNotFound, Detail: "there is no such alarm"}
	}
	d, err := s.Alarms.Get(r.Context(), id)
	if err == nil && !s.Private {
		d.Acts, d.Notices = nil, nil
	}
	return d, err
}

// alarmAct takes what somebody wants done with an alarm.
func (s *server) alarmAct(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, id, by, comment string) error) error {
	if err := s.mayAct(r); err != nil {
		return err
	}
	var act alarmAct
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&act)
	if err == nil {
		if _, rest := d.Token(); !errors.Is(rest, io.EOF) {
			err = errors.Join(errors.New("something follows the object"), rest)
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return err
	case err != nil:
		return &ClientError{Status: http.StatusBadRequest, Detail: `want {"by": "who", "comment": "what for"}: ` + strings.ReplaceAll(err.Error(), "\n", ", ")}
	case strings.TrimSpace(act.By) == "":
		return &ClientError{Status: http.StatusBadRequest, Detail: "by is empty: who does this?"}
	}
	if _, err := s.alarm(r); err != nil {
		return err
	}
	if err := do(r.Context(), r.PathValue("id"), act.By, act.Comment); err != nil {
		return err
	}
	return s.alarmGet(w, r)
}

// mayAct lets users of this machine act, and nobody else while there are no
// accounts. A page of another host that a browser on this machine shows is not
// one: it can name neither this host nor an origin of it.
func (s *server) mayAct(r *http.Request) error {
	if !s.Private {
		return &ClientError{Status: http.StatusForbidden, Detail: "alarms are acknowledged and closed on the gateway's own machine only, while there are no accounts: gateway alarms ack"}
	}
	local := func(hostport string) bool {
		host, _, err := net.SplitHostPort(hostport)
		if err != nil {
			host = strings.Trim(hostport, "[]")
		}
		a, err := netip.ParseAddr(host)
		return host == "localhost" || err == nil && a.Unmap().IsLoopback()
	}
	if !local(r.Host) {
		return &ClientError{Status: http.StatusForbidden, Detail: fmt.Sprintf("host %q is not this machine", r.Host)}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return &ClientError{Status: http.StatusForbidden, Detail: "a page of another origin may not do this"}
		}
	}
	return nil
}

// Running says that the condition goes on.
func (a Alarm) Running() bool { return a.Ended == nil }

// Target is a target of notices that is parked.
type Target struct {
	ID, Error string
	Since     int64
	Waiting   int
}

// Window is a maintenance window that is open or to come.
type Window struct {
	Object, Why   string
	Opens, Closes int64
}

// Why says why an alarm ended.
func (v statusView) Why(a Alarm) string {
	if a.ReasonName == nil {
		return a.Reason
	}
	return v.L.Say(a.ReasonName.ZH, a.ReasonName.EN)
}

// When writes a time of an alarm.
func (v statusView) When(t time.Time) string { return v.Time(t.UnixMilli()) }

// EndedAt writes when an alarm ended.
func (v statusView) EndedAt(a Alarm) string {
	if a.Ended == nil {
		return ""
	}
	return v.When(*a.Ended)
}

// Span writes how long an alarm's condition was measured.
func (v statusView) Span(a Alarm) string {
	if a.MeasuredMS == 0 {
		return ""
	}
	return v.L.Duration(a.MeasuredMS)
}
