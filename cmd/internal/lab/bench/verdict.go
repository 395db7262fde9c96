package bench

import (
	"fmt"
	"slices"
	"strings"

	"resilver/cmd/internal/lab"
)

// Verdict is one goal and whether a run met it.
type Verdict struct {
	Goal  string  `json:"goal"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	// AtLeast: the value must not be below the limit; else not above it.
	AtLeast bool   `json:"at_least"`
	Unit    string `json:"unit"` // as a figure's; × for a ratio
	// Measured: without a value there is no verdict, and the goal is not met.
	Measured bool `json:"measured"`
	Met      bool `json:"met"`
}

const times = "×"

// noise is how much larger one median of a few rounds may be than another
// that is "no larger".
const noise = 1.10

// goal is what a run is held against.
type goal struct {
	text    string
	engines []string // nil: both
	value   func(figures) (float64, bool)
	limit   float64
	atLeast bool
	unit    string
}

// goals are the project's, for medians but where a single round counts.
var goals = []goal{
	{"stage, with mTLS, against a plain CLONE into the same scratch server", []string{lab.MySQL}, ratio(copyStage, copyPlain), 1.15, false, times},
	{"stage, with mTLS, against CLONE with its own TLS into the same", []string{lab.MySQL}, ratio(copyStage, copyTLS), 0.9, false, times},
	{"stage, with mTLS, against mariadb-backup piped into mbstream", []string{lab.MariaDB}, ratio(copyStage, copyPipe), 1.0, false, times},
	{"outage against a graceful restart, idle", []string{lab.MySQL}, ratio(outageOurs, outageRestart), 0.5, false, times},
	{"outage against a graceful restart, idle", []string{lab.MariaDB}, ratio(outageOurs, outageRestart), 0.3, false, times},
	{"outage against a graceful restart, under load", []string{lab.MySQL}, ratio(outageOursLoad, outageRestartLoad), 0.5, false, times},
	{"outage against a graceful restart, under load", []string{lab.MariaDB}, ratio(outageOursLoad, outageRestartLoad), 0.3, false, times},
	{"outage against a graceful restart, small", []string{lab.MySQL}, ratio(outageOursSmall, outageRestartSmall), 0.5, false, times},
	{"outage against a graceful restart, small", []string{lab.MariaDB}, ratio(outageOursSmall, outageRestartSmall), 0.3, false, times},
	{"outage no larger than at the small size", nil, ratio(outageOurs, outageOursSmall), noise, false, times},
	{"outage no larger under load than idle", nil, ratio(outageOursLoad, outageOurs), noise, false, times},
	{"outage of the old way against ours", nil, ratio(outageOld, outageOurs), 5, true, times},
	{"longest commit at a primary donor during any copy", nil, largest(commitDuring), 150, false, milliseconds},
	{"resident memory of an idle sidecar", nil, plain(idleRSS), 25, false, megabytes},
	{"of which anonymous", nil, plain(idleAnon), 15, false, megabytes},
	{"processor of an idle sidecar, of one core", nil, plain(idleCPU), 0.5, false, percent},
	{"statements for one probe", nil, plain(idleStatements), 6, false, count},
}

func plain(name string) func(figures) (float64, bool) {
	return func(fs figures) (float64, bool) { return fs.medianOf(name) }
}

// largest is for what no round may exceed.
func largest(name string) func(figures) (float64, bool) {
	return func(fs figures) (float64, bool) {
		f := fs.find(name)
		if f == nil || len(f.Values) == 0 {
			return 0, false
		}
		return slices.Max(f.Values), true
	}
}

func ratio(above, below string) func(figures) (float64, bool) {
	return func(fs figures) (float64, bool) {
		a, ok := fs.medianOf(above)
		b, also := fs.medianOf(below)
		if !ok || !also || b <= 0 {
			return 0, false
		}
		return a / b, true
	}
}

// judge holds the figures of an engine against its goals.
func judge(engine string, fs figures) []Verdict {
	var out []Verdict
	for _, g := range goals {
		if g.engines != nil && !slices.Contains(g.engines, engine) {
			continue
		}
		v := Verdict{Goal: g.text, Limit: g.limit, AtLeast: g.atLeast, Unit: g.unit}
		v.Value, v.Measured = g.value(fs)
		v.Met = v.Measured && (g.atLeast && v.Value >= g.limit || !g.atLeast && v.Value <= g.limit)
		out = append(out, v)
	}
	return out
}

// Word is the verdict in a word or two.
func (v *Verdict) Word() string {
	switch {
	case !v.Measured:
		return "not measured"
	case v.Met:
		return "met"
	}
	return "NOT met"
}

// Want is the limit, as a person writes it.
func (v *Verdict) Want() string {
	sign := "≤"
	if v.AtLeast {
		sign = "≥"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %g %s", sign, v.Limit, v.Unit))
}

// quantity writes a value with its unit, in as many digits as mean something.
func quantity(value float64, unit string) string {
	digits := 2
	switch {
	case unit == milliseconds || unit == pages || unit == megabytes && value >= 100:
		digits = 0
	case unit == megabytes || unit == count || unit == seconds && value >= 20:
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, value)
	if unit == count {
		return text
	}
	return text + " " + unit
}
