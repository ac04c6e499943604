package main

import (
	"context"
	"flag"
	"io"
	"time"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const alarmsIntro = `gateway alarms shows what devices, probes and zones need attention for, and lets
people say that they have seen it. All of it works beside a running gateway.

  gateway alarms list         list alarms, newest first
  gateway alarms ack          acknowledge one: nobody else is told of it
  gateway alarms close        end one by hand
  gateway alarms rules        show or set what raises alarms, and who is told
  gateway alarms maintenance  sign that a zone or device is being worked on
  gateway alarms targets      show or set where notices go; let a parked one go on
  gateway alarms test-notify  send a test notice

Example:

  gateway alarms list --dir data --active
`

func alarms(ctx context.Context, args, environ []string, stdout io.Writer) error {
	name, args, err := command.Split(args, alarmsIntro, stdout)
	if err != nil {
		return err
	}
	f, logs := newFlags("gateway alarms " + name)
	dir := f.String("dir", "data", "the gateway's `folder`")
	parse := func(intro string) error {
		if err := command.Parse(f, args, environ, prefix, intro, stdout); err != nil {
			return err
		}
		if f.NArg() > 0 {
			return command.Usagef("unexpected argument %q", f.Arg(0))
		}
		_, _, err := logs.start(io.Discard)
		return err
	}
	switch name {
	case "list":
		return alarmList(ctx, f, dir, parse, stdout)
	case "ack", "close":
		return alarmAct(ctx, name, f, dir, parse, stdout)
	case "rules":
		return alarmRules(ctx, f, dir, parse, stdout)
	case "maintenance":
		return alarmMaintenance(f, dir, parse, stdout)
	case "targets":
		return alarmTargets(ctx, f, dir, parse, stdout)
	case "test-notify":
		return alarmTest(ctx, f, dir, parse, stdout)
	}
	return command.Usagef("unknown command %q; see gateway alarms --help", name)
}

func alarmList(ctx context.Context, f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	active := f.Bool("active", false, "only those that somebody still has to do something about")
	ended := f.Bool("ended", false, "only those that have ended")
	limit := f.Int("limit", 50, "at most this `number`")
	asJSON := f.Bool("json", false, "one JSON object a line, with all there is")
	if err := parse("gateway alarms list lists alarms, newest first. An alarm is active until it has ended\nand somebody has acknowledged it.\n\nExample:\n\n  gateway alarms list --dir data --active\n"); err != nil {
		return err
	}
	if *active && *ended {
		return command.Usagef("--active and --ended ask for different alarms")
	}
	if *limit < 1 || *limit > 10_000 {
		return command.Usagef("--limit %d, want 1 to 10000", *limit)
	}
	which := ""
	if *active {
		which = "active"
	} else if *ended {
		which = "ended"
	}
	return app.Alarms(ctx, *dir, which, *limit, *asJSON, stdout)
}

func alarmAct(ctx context.Context, name string, f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	id := f.String("id", "", "`id` of the alarm, or its first digits, as gateway alarms list gives it")
	by := f.String("by", "", "`who` does it")
	comment := f.String("comment", "", "what was `done` about it")
	intro := "gateway alarms ack keeps that somebody has seen an alarm, and what is done about it.\nWho would have been told next is not.\n\nExample:\n\n  gateway alarms ack --dir data --id 3f2a --by 李雷 --comment \"compressor restarted\"\n"
	if name == "close" {
		intro = "gateway alarms close ends an alarm by hand. If what it is about goes on, it raises no\nsecond alarm before it has been over; a cumulative count starts anew.\n\nExample:\n\n  gateway alarms close --dir data --id 3f2a --by 李雷 --comment \"goods moved to cold room 2\"\n"
	}
	if err := parse(intro); err != nil {
		return err
	}
	if *id == "" || *by == "" {
		return command.Usagef("want --id and --by; see gateway alarms %s --help", name)
	}
	return app.ActOnAlarm(ctx, *dir, name == "close", *id, *by, *comment, stdout)
}

func alarmRules(ctx context.Context, f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	set := f.String("set", "", "`file` of rules to put in force, - for standard input")
	preset := f.String("preset", "", "`name` of a built-in set to put in force; with --show only to print")
	show := f.Bool("show", false, "print a preset and put nothing in force")
	by := f.String("by", "", "`who` sets them")
	if err := parse("gateway alarms rules prints the rules in force, as JSON, or puts others in force for\nwhat comes in from now on. Alarms keep the rule that raised them, by its SHA-256.\n\nPresets: default, who-1, who-2 (WHO PQS alarm types), gsp-storage, gsp-transport,\nfreezer.\n\nExamples:\n\n  gateway alarms rules --dir data\n  gateway alarms rules --preset who-1 --show > rules.json\n  gateway alarms rules --dir data --set rules.json --by 李雷\n"); err != nil {
		return err
	}
	switch {
	case *set != "" && *preset != "":
		return command.Usagef("--set and --preset give different rules")
	case *show && *preset == "":
		return command.Usagef("--show goes with --preset")
	case !*show && *set+*preset != "" && *by == "":
		return command.Usagef("want --by: who sets the rules?")
	}
	return app.AlarmRules(ctx, app.AlarmRulesConfig{Dir: *dir, File: *set, Preset: *preset, Show: *show, By: *by}, stdout)
}

const alarmMaintenanceIntro = `gateway alarms maintenance has the organisation sign that something is being worked
on. Alarms meanwhile are kept and shown all the same; whoever would be told is told
when it ends, if the alarm goes on then. It is in the ledger like everything signed:
nobody can open a window afterwards unseen.

Example:

  gateway alarms maintenance --dir data --zone cold1 --for 2h --why "除霜 defrost"
`

func alarmMaintenance(f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	c := app.MaintenanceConfig{From: time.Now().Truncate(time.Second)}
	many := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	f.Func("zone", "`id` of a zone, may be repeated", many(&c.Zones))
	f.Func("device", "`URI` of a device's identity, may be repeated", many(&c.Devices))
	f.Func("from", "when it begins, as `2026-03-01T08:00:00+08:00`; default now", func(v string) (err error) {
		c.From, err = time.Parse(time.RFC3339, v)
		return err
	})
	f.DurationVar(&c.For, "for", time.Hour, "how `long`, at most 168h")
	f.StringVar(&c.Why, "why", "", "the `reason`, for everybody who sees the alarms")
	if err := parse(alarmMaintenanceIntro); err != nil {
		return err
	}
	if len(c.Zones)+len(c.Devices) == 0 || c.Why == "" {
		return command.Usagef("want --zone or --device, and --why; see gateway alarms maintenance --help")
	}
	c.Dir = *dir
	return app.Maintenance(c, stdout)
}

func alarmTargets(ctx context.Context, f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	set := f.String("set", "", "`file` of targets to use from now on, - for standard input")
	resume := f.String("resume", "", "`id` of a parked target to send to again")
	if err := parse(alarmTargetsIntro); err != nil {
		return err
	}
	if *set != "" && *resume != "" {
		return command.Usagef("--set and --resume are two things")
	}
	return app.AlarmTargets(ctx, *dir, *set, *resume, stdout)
}

const alarmTargetsIntro = `gateway alarms targets lists where notices can go, without their secrets, and how it
goes; with --set it takes others from a file, which only its owner can read then.

  {"own_networks": ["10.0.0.0/8"],
   "targets": [
    {"id": "erp", "type": "webhook", "url": "https://erp.acme.example/alarms", "secret": "whsec_…"},
    {"id": "mail", "type": "smtp", "server": "10.0.0.9:587", "tls": "starttls", "user": "gateway",
     "password": "…", "from": "gateway@acme.example", "to": ["qa@acme.example"]},
    {"id": "wecom", "type": "wecom", "url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…"},
    {"id": "ding", "type": "dingtalk", "url": "https://oapi.dingtalk.com/robot/send?access_token=…", "secret": "SEC…"},
    {"id": "feishu", "type": "feishu", "url": "https://open.feishu.cn/open-apis/bot/v2/hook/…", "secret": "…"}]}

Loopback and private addresses are dialled only in own_networks. Rules name an
escalation, whose steps name targets: see gateway alarms rules.

Example:

  gateway alarms targets --dir data --set targets.json
`

func alarmTest(ctx context.Context, f *flag.FlagSet, dir *string, parse func(string) error, stdout io.Writer) error {
	target := f.String("target", "", "`id` of the target")
	if err := parse("gateway alarms test-notify sends a test notice to a target, once, and says what came\nof it. A parked target that takes it is sent to again.\n\nExample:\n\n  gateway alarms test-notify --dir data --target mail\n"); err != nil {
		return err
	}
	if *target == "" {
		return command.Usagef("want --target; see gateway alarms targets")
	}
	return app.TestNotify(ctx, *dir, *target, stdout)
}
