package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"resilver/cmd/internal/lab"
)

func resultOf(engine string) *Result {
	fs := perfect(engine)
	for i := range fs {
		if len(fs[i].Values) == 0 {
			fs.add(fs[i].Name, 1.5)
		}
	}
	return &Result{Engine: engine, Server: engine + " 1.2.3", Resilver: "resilver 0.4", Command: "resilver-lab bench --data 2GiB",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 600, DataMB: 2147, SmallMB: 209, PoolMB: 1073, Rounds: 3, Rate: 500, Soak: 10, Idle: 60,
		Machine: Machine{Kernel: "Linux 6", System: "Debian", Processor: "EPYC", Cores: 2, Memory: 25e9, Disk: "/dev/vda, ext4", Writes: 9e8},
		Figures: fs.measured(), Verdicts: judge(engine, fs)}
}

// TestDocument: the page names the machine and the command, has every figure
// and goal of both engines, and comes out the same from the JSON of the runs.
func TestDocument(t *testing.T) {
	results := []*Result{resultOf(lab.MySQL), resultOf(lab.MariaDB)}
	page, err := Document(results)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, want := range []string{"## " + r.Server, "`" + r.Command + "`", "2026-01-02T03:04:05Z, 10.0 minutes", "resilver 0.4", "Linux 6", "EPYC with 2 cores",
			"25 GB of memory", "/dev/vda, ext4", "900 MB/s", "2147 MB of rows", "500 transactions a second at the primary for 10 s", "209 MB"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("the page does not say %q", want)
			}
		}
		for _, f := range r.Figures {
			if row := "| " + f.Text + " | " + quantity(f.Median, f.Unit) + " |"; !strings.Contains(string(page), row) {
				t.Errorf("the page has no row %q", row)
			}
		}
		for _, v := range r.Verdicts {
			if row := "| " + v.Goal + " | " + quantity(v.Value, v.Unit) + " | " + v.Want() + " | met |"; !strings.Contains(string(page), row) {
				t.Errorf("the page has no row %q", row)
			}
			if !strings.Contains(r.Text(), v.Goal) {
				t.Errorf("the text does not tell the goal %q", v.Goal)
			}
		}
	}
	text, err := json.Marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	var read []*Result
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	again, err := Document(read)
	if err != nil || string(again) != string(page) {
		t.Errorf("the page from the JSON is another one, %v", err)
	}
}

func TestDocumentTellsWhatWasNotMet(t *testing.T) {
	r := resultOf(lab.MySQL)
	r.Verdicts[0].Met = false
	r.Verdicts[1].Measured, r.Verdicts[1].Met = false, false
	page, err := Document([]*Result{r})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"| NOT met |", "| – | " + r.Verdicts[1].Want() + " | not measured |"} {
		if !strings.Contains(string(page), word) {
			t.Errorf("the page does not say %q", word)
		}
	}
}
