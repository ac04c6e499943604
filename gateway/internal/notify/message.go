package notify

import (
	"encoding/json"
	"strings"
	"time"
)

// Both are words in our two languages.
type Both struct {
	ZH string `json:"zh-CN"`
	EN string `json:"en"`
}

// A Message is what a notice says of an alarm. Times are RFC 3339.
type Message struct {
	Alarm        string      `json:"alarm"`
	What         string      `json:"what"` // start, escalation, end or test
	Rule         string      `json:"rule"`
	Kind         string      `json:"kind"`
	Severity     string      `json:"severity"`
	Name         Both        `json:"name"`
	Device       string      `json:"device"`
	Channel      string      `json:"channel,omitempty"`
	Other        string      `json:"other,omitempty"`
	Zone         string      `json:"zone,omitempty"`
	Start        string      `json:"start"`
	Triggered    string      `json:"triggered"`
	Ended        string      `json:"ended,omitempty"`
	Reason       string      `json:"reason,omitempty"`
	MeasuredMS   int64       `json:"measured_ms"`
	Peak         json.Number `json:"peak,omitempty"`
	Unit         string      `json:"unit,omitempty"`
	GatewayClock bool        `json:"gateway_clock,omitempty"` // the times are not the device's word
}

var whats = map[string]Both{
	"start": {"报警", "ALARM"}, "escalation": {"报警升级（无人确认）", "ESCALATED, nobody acknowledged"}, "end": {"报警结束", "ended"}, "test": {"测试", "TEST"},
}

// reasons says why alarms end.
var reasons = map[string]Both{
	"back-in-range": {"恢复正常", "back in range"}, "sensor-lost": {"测点失联", "sensor lost"}, "not-planned": {"计划不再包含", "not planned any more"},
	"rule-changed": {"规则已更改", "rule changed"}, "day-over": {"当日结束", "day over"}, "closed-by-hand": {"人工关闭", "closed by hand"},
}

// Reason says why an alarm ended, for people.
func Reason(code string) Both {
	if b, ok := reasons[code]; ok {
		return b
	}
	return Both{code, code}
}

var units = map[string]string{"Cel": "°C", "%RH": "%RH", "%EL": "%"}

// clip cuts words to bytes of whole characters.
func clip(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	cut := 0
	for i := range s {
		if i > bytes-len("…") {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}

// Title is one line, Chinese first.
func (m Message) Title() string {
	w := whats[m.What]
	return "【" + w.ZH + "】" + m.Name.ZH + where(m) + " / " + w.EN + ": " + m.Name.EN
}

func where(m Message) string {
	if m.Zone == "" {
		return ""
	}
	return " · " + m.Zone
}

// Text is the whole message: Chinese, then English, then its number.
func (m Message) Text() string {
	w := whats[m.What]
	var b strings.Builder
	line := func(parts ...string) { b.WriteString(strings.Join(parts, "") + "\n") }
	unit := m.Unit
	if u, ok := units[unit]; ok {
		unit = u
	}
	span := (time.Duration(m.MeasuredMS) * time.Millisecond).Round(time.Second).String()
	probe := m.Channel
	if m.Other != "" {
		probe += " ↔ " + m.Other
	}
	for _, zh := range []bool{true, false} {
		say := func(a, b string) string {
			if zh {
				return a
			}
			return b
		}
		line(say("【"+w.ZH+"】", "["+w.EN+"] "), say(m.Name.ZH, m.Name.EN))
		if m.Zone != "" {
			line(say("区域：", "Zone: "), m.Zone)
		}
		if probe != "" {
			line(say("测点：", "Channel: "), probe)
		}
		line(say("设备：", "Device: "), m.Device)
		clock := ""
		if m.GatewayClock {
			clock = say("（网关时钟）", " (gateway's clock)")
		}
		line(say("开始：", "Since: "), m.Start, clock)
		line(say("触发：", "Triggered: "), m.Triggered)
		if m.Ended != "" {
			r := Reason(m.Reason)
			line(say("结束：", "Ended: "), m.Ended, say("，"+r.ZH, ", "+r.EN))
		}
		if m.MeasuredMS > 0 {
			line(say("累计：", "Measured: "), span)
		}
		if m.Peak != "" {
			line(say("极值：", "Furthest: "), m.Peak.String(), " ", unit)
		}
		if zh {
			line("")
		}
	}
	if m.Alarm != "" {
		line("#", m.Alarm)
	}
	return b.String()
}
