package cli

import (
	"fmt"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager that started this process, told over
// sd_notify(3) how it fares. Without one, all it does is nothing.
type manager struct{ logger *slog.Logger }

// ready says that every part of the sidecar runs. A watchdog that is shorter
// than the pace of the beats is lengthened.
func (m manager) ready(pace time.Duration) {
	state := sd.SdNotifyReady
	given, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		m.logger.Warn("watchdog of the service manager not understood", "error", err)
	}
	if least := 5 * pace; given > 0 && given < least {
		m.logger.Warn("WatchdogSec is short for probe.interval and is lengthened", "given", given, "now", least)
		state += fmt.Sprintf("\nWATCHDOG_USEC=%d", least.Microseconds())
	}
	m.tell(state)
}

// beat says that the loop goes round.
func (m manager) beat() { m.tell(sd.SdNotifyWatchdog) }

func (m manager) stopping() { m.tell(sd.SdNotifyStopping) }

func (m manager) tell(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		m.logger.Debug("service manager not told", "state", state, "error", err)
	}
}
