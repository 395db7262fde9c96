package cli

import (
	"fmt"
	"strings"

	"resilver/watchdog"
)

const barWidth = 28

// progressText is a rebuild under way in one line: its step, and where bytes
// flow a bar, bytes of total, rate and time left.
func progressText(p watchdog.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s", p.Step)
	if p.Step != watchdog.StepStage || p.Bytes <= 0 && p.BytesTotal <= 0 {
		return strings.TrimRight(b.String(), " ")
	}
	if p.BytesTotal > 0 {
		share := min(1, max(0, float64(p.Bytes)/float64(p.BytesTotal)))
		full := int(share * barWidth)
		fmt.Fprintf(&b, " [%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100)
		fmt.Fprintf(&b, "  %s of %s", bytesText(p.Bytes), bytesText(p.BytesTotal))
	} else {
		fmt.Fprintf(&b, " %s", bytesText(p.Bytes))
	}
	if p.Rate > 0 {
		fmt.Fprintf(&b, "  %s/s", bytesText(int64(p.Rate)))
	}
	if p.ETASeconds != nil {
		fmt.Fprintf(&b, "  ETA %s", secondsText(*p.ETASeconds))
	}
	return b.String()
}
