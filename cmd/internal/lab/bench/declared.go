package bench

import (
	"resilver/cmd/internal/lab"
	"resilver/watchdog"
)

// The names of the figures.
const (
	copyPlain      = "copy.plain"
	copyTLS        = "copy.tls"
	copyPlainAlone = "copy.plain_alone"
	copyTLSAlone   = "copy.tls_alone"
	copyPipe       = "copy.pipe"
	copyStage      = "copy.stage"
	copyDonorCPU   = "copy.donor_cpu"
	copyReceivCPU  = "copy.recipient_cpu"

	outageRestart      = "outage.restart"
	outageOurs         = "outage.resilver"
	outageOld          = "outage.old_way"
	outageRestartLoad  = "outage.restart_load"
	outageOursLoad     = "outage.resilver_load"
	outageRestartSmall = "outage.restart_small"
	outageOursSmall    = "outage.resilver_small"
	outageClean        = "outage.restart_clean"

	dirtyRestart      = "dirty.restart"
	dirtyOurs         = "dirty.resilver"
	dirtyRestartLoad  = "dirty.restart_load"
	dirtyOursLoad     = "dirty.resilver_load"
	dirtyRestartSmall = "dirty.restart_small"
	dirtyOursSmall    = "dirty.resilver_small"

	clientRestart = "client.restart"
	clientOurs    = "client.resilver"
	clientOld     = "client.old_way"

	commitAlone  = "commit.alone"
	commitDuring = "commit.during"

	healNoticed     = "heal.noticed"
	healLease       = "heal.lease"
	healReplicating = "heal.replicating"
	healCaughtUp    = "heal.caught_up"

	stepPrefix = "step."

	idleRSS        = "idle.rss"
	idleAnon       = "idle.anonymous"
	idleCPU        = "idle.cpu"
	idleStatements = "idle.statements"
)

// The sections of the document, in order.
const (
	sectionCopy   = "Copy"
	sectionOutage = "Outage"
	sectionDirty  = "Changed pages in the replica's buffer pool"
	sectionClient = "Outage as a client sees it"
	sectionCommit = "Commits at a primary that gives its copy"
	sectionHeal   = "From fault to healed"
	sectionSteps  = "The steps of these heals"
	sectionIdle   = "An idle sidecar"
)

// declared are an engine's figures in the order of the document.
func declared(engine string) figures {
	var fs figures
	raw := []Figure{
		{Name: copyPlain, Text: "scratch server, CLONE over plain TCP", Unit: seconds},
		{Name: copyPlainAlone, Text: "of which the statement alone", Unit: seconds},
		{Name: copyTLS, Text: "scratch server, CLONE with its own TLS", Unit: seconds},
		{Name: copyTLSAlone, Text: "of which the statement alone", Unit: seconds},
	}
	stage := "resilver's stage: scratch server, CLONE, mTLS"
	if engine == lab.MariaDB {
		raw = []Figure{{Name: copyPipe, Text: "mariadb-backup | mbstream, on one machine", Unit: seconds}}
		stage = "resilver's stage: mariadb-backup, mTLS, mbstream"
	}
	fs.declare(sectionCopy, append(raw,
		Figure{Name: copyStage, Text: stage, Unit: seconds},
		Figure{Name: copyDonorCPU, Text: "processor of the donor's sidecar, for each GB", Unit: seconds},
		Figure{Name: copyReceivCPU, Text: "processor of the recipient's sidecar, for each GB", Unit: seconds})...)
	fs.declare(sectionOutage,
		Figure{Name: outageRestart, Text: "graceful restart, idle", Unit: seconds},
		Figure{Name: outageOurs, Text: "rebuild by resilver, idle", Unit: seconds},
		Figure{Name: outageOld, Text: "rebuild the old way, idle", Unit: seconds},
		Figure{Name: outageRestartLoad, Text: "graceful restart, under load", Unit: seconds},
		Figure{Name: outageOursLoad, Text: "rebuild by resilver, under load", Unit: seconds},
		Figure{Name: outageRestartSmall, Text: "graceful restart, small", Unit: seconds},
		Figure{Name: outageOursSmall, Text: "rebuild by resilver, small", Unit: seconds},
		Figure{Name: outageClean, Text: "graceful restart, idle, of a server with nothing to write", Unit: seconds})
	fs.declare(sectionDirty,
		Figure{Name: dirtyRestart, Text: "before a graceful restart, idle", Unit: pages},
		Figure{Name: dirtyOurs, Text: "before a rebuild by resilver, idle", Unit: pages},
		Figure{Name: dirtyRestartLoad, Text: "before a graceful restart, under load", Unit: pages},
		Figure{Name: dirtyOursLoad, Text: "before a rebuild by resilver, under load", Unit: pages},
		Figure{Name: dirtyRestartSmall, Text: "before a graceful restart, small", Unit: pages},
		Figure{Name: dirtyOursSmall, Text: "before a rebuild by resilver, small", Unit: pages})
	fs.declare(sectionClient,
		Figure{Name: clientRestart, Text: "graceful restart, for a client", Unit: seconds},
		Figure{Name: clientOurs, Text: "rebuild by resilver, for a client", Unit: seconds},
		Figure{Name: clientOld, Text: "rebuild the old way, for a client", Unit: seconds})
	fs.declare(sectionCommit,
		Figure{Name: commitAlone, Text: "longest commit, no copy", Unit: milliseconds},
		Figure{Name: commitDuring, Text: "longest commit during a copy", Unit: milliseconds})
	fs.declare(sectionHeal,
		Figure{Name: healNoticed, Text: "fault noticed", Unit: seconds},
		Figure{Name: healLease, Text: "lease granted, policy.broken_for being 2 s", Unit: seconds},
		Figure{Name: healReplicating, Text: "replicating again", Unit: seconds},
		Figure{Name: healCaughtUp, Text: "caught up with the primary", Unit: seconds})
	for _, step := range watchdog.Steps() {
		if step != watchdog.StepSettle { // it ends after the record
			fs.declare(sectionSteps, Figure{Name: stepPrefix + string(step), Text: string(step), Unit: seconds})
		}
	}
	fs.declare(sectionIdle,
		Figure{Name: idleRSS, Text: "resident memory, the largest of three", Unit: megabytes},
		Figure{Name: idleAnon, Text: "of which anonymous, the largest of three", Unit: megabytes},
		Figure{Name: idleCPU, Text: "processor, of one core, the largest of three", Unit: percent},
		Figure{Name: idleStatements, Text: "statements for one probe", Unit: count})
	return fs
}
