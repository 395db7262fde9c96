package lab

import (
	"strings"
	"testing"
	"time"

	"resilver/watchdog"
	"resilver/watchdog/admin"
)

func broken(acts bool) *admin.Plan {
	return &admin.Plan{
		WouldAct: acts,
		Diagnosis: admin.PlanDiagnosis{Class: watchdog.ClassDivergent, Reason: "row-missing",
			Detail: "applier error 1032: Worker 1 failed executing transaction 'u:5' at source log binlog.000001, end_log_pos 8664; Can't find record in 'faults'"},
		Guards: []watchdog.Guard{{ID: "broken-long-enough", Verdict: watchdog.Pass}},
	}
}

func inStep(step watchdog.Step) *admin.NodeStatus {
	return &admin.NodeStatus{Name: "db2", Rebuild: &watchdog.Progress{Step: step, Donor: "db3"}}
}

func TestStoryTellsEachMilestoneOnceAndInOrder(t *testing.T) {
	mine, other := &admin.LeaseStatus{Holder: "db2", Donor: "db3", Token: 7}, &admin.LeaseStatus{Holder: "db3"}
	tests := []struct {
		name  string
		snaps []snapshot
		want  string
	}{
		{"nothing is known", []snapshot{{}, {}}, ""},
		{"a fault that no rebuild cures", []snapshot{{plan: &admin.Plan{Diagnosis: admin.PlanDiagnosis{Class: watchdog.ClassCredential}}}}, ""},
		{"noticed once", []snapshot{{plan: broken(false)}, {plan: broken(false)}}, "noticed"},
		{"a guard objects while another node has the lease", []snapshot{{plan: broken(false), lease: other}}, "noticed"},
		{"and none any more", []snapshot{{plan: broken(false), lease: other}, {plan: broken(true)}}, "noticed confirmed"},
		{"step by step", []snapshot{
			{plan: broken(false)}, {plan: broken(true)}, {lease: mine}, {self: inStep(watchdog.StepPreflight), lease: mine},
			{self: inStep(watchdog.StepStage)}, {self: inStep(watchdog.StepRehearse)}, {self: inStep(watchdog.StepStop)},
			{self: inStep(watchdog.StepStart)}, {record: &watchdog.Record{}},
			{record: &watchdog.Record{Outcome: watchdog.Healed}},
		}, "noticed confirmed lease copying rehearsed swapped replicating"},
		{"what went by between two looks is told too", []snapshot{{plan: broken(false)}, {self: inStep(watchdog.StepVerify)}},
			"noticed confirmed lease copying rehearsed swapped"},
		{"a rebuild that failed does not replicate", []snapshot{{self: inStep(watchdog.StepStage)}, {record: &watchdog.Record{Outcome: watchdog.Failed}}},
			"noticed confirmed lease copying"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStory("db2")
			var got []string
			for i, snap := range tt.snaps {
				for _, l := range s.tell(time.Unix(int64(i), 0), snap) {
					if l.text == "" {
						t.Errorf("%s has no words", l.what)
					}
					got = append(got, l.what.String())
				}
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("told %q, want %q", text, tt.want)
			}
		})
	}
}

func TestStoryComesToThePoint(t *testing.T) {
	lines := newStory("db2").tell(time.Unix(0, 0), snapshot{plan: broken(false)})
	if want := "db2 is divergent (row-missing): Can't find record in 'faults'"; lines[0].text != want {
		t.Errorf("told %q, want %q", lines[0].text, want)
	}
}

func TestBarDrawsOnlyARealCopy(t *testing.T) {
	left := 2.0
	for _, tt := range []struct {
		progress *watchdog.Progress
		want     string
	}{
		{nil, ""},
		{&watchdog.Progress{Step: watchdog.StepStage, Bytes: 3, BytesTotal: 4}, ""},
		{&watchdog.Progress{Step: watchdog.StepRehearse, Bytes: 3e8, BytesTotal: 4e8}, ""},
		{&watchdog.Progress{Step: watchdog.StepStage, Bytes: 1e8, BytesTotal: 4e8, Rate: 5e7, ETASeconds: &left},
			"[######..................]  25%  100 of 400 MB  50 MB/s  2 s left"},
		{&watchdog.Progress{Step: watchdog.StepStage, Bytes: 5e8, BytesTotal: 4e8}, "[########################] 100%  500 of 400 MB"},
	} {
		if got := bar(tt.progress); got != tt.want {
			t.Errorf("bar(%+v) = %q, want %q", tt.progress, got, tt.want)
		}
	}
}
