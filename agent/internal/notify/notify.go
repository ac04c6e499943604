// Package notify tells systemd how the agent is (sd_notify(3)): ready, what it
// does, and, twice in each watchdog period, that its own loop still turns. Where
// nobody waits for that it does nothing.
package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// quiet is the pause between two lines of status where there is no watchdog.
const quiet = 20 * time.Second

// Run says READY and then, until ctx ends, the status; alive decides whether the
// watchdog is told. A loop that hangs is not: systemd starts the agent anew.
func Run(ctx context.Context, alive func() bool, status func() string, log *slog.Logger) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog", slog.Any("err", err))
	}
	if every /= 3; every <= 0 {
		every = quiet
	}
	if told, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("systemd is not told", slog.Any("err", err))
	} else if !told {
		return // no systemd
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		message := "STATUS=" + status()
		if alive() {
			message += "\n" + daemon.SdNotifyWatchdog
		} else {
			log.Error("the station's loop hangs: the watchdog is not told")
		}
		if _, err := daemon.SdNotify(false, message); err != nil {
			log.Warn("systemd is not told", slog.Any("err", err))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) // it sees that we end
			return
		}
	}
}
