package watchdog

import (
	"fmt"
	"strings"
)

// verdict is what one observation says by itself, without the past.
type verdict struct {
	class    Class
	reason   string
	detail   string
	evidence Evidence
	// fault: replication is broken, as opposed to not seen or not configured.
	fault bool
}

func plain(class Class, reason, detail string) verdict {
	return verdict{class: class, reason: reason, detail: detail, evidence: Evidence{Thread: string(server)}}
}

// maxDetail bounds the line for a person, in bytes: messages quote statements.
const maxDetail = 400

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// judge names what one observation shows.
func judge(obs *Observation) verdict {
	switch {
	case !obs.Reachable:
		return judgeTrouble(obs)
	case symptomsOf(obs.Flavor) == nil:
		return plain(ClassUnknown, ReasonUnsupported, "flavour "+obs.Flavor+" is not known here")
	case obs.GroupMember:
		return plain(ClassUnknown, ReasonGroupMember, "the server is a member of a replication group")
	case len(obs.Sources) > 1:
		return plain(ClassUnknown, ReasonManySources, fmt.Sprintf("%d replication channels", len(obs.Sources)))
	case len(obs.Sources) == 0 && !obs.Writable():
		return plain(ClassUnknown, ReasonNoSource, "read-only, and no source is configured")
	case len(obs.Sources) == 0:
		return plain(ClassHealthy, "", "writable, and no source is configured")
	}
	return judgeSource(&obs.Sources[0], obs.Flavor)
}

func judgeTrouble(obs *Observation) verdict {
	switch obs.Trouble {
	case TroubleDown:
		return plain(ClassUnreachable, ReasonServerDown, cut(obs.Err)+"; is mysqld up, and mysql.socket right?")
	case TroubleHung:
		return plain(ClassUnknown, ReasonNoAnswer, cut(obs.Err))
	case TroubleDenied:
		return plain(ClassUnknown, ReasonOwnAccount, cut(obs.Err)+"; see `resilver grants`, and mysql.user and mysql.password_file")
	}
	return plain(ClassUnknown, ReasonNotObserved, cut(obs.Err))
}

// judgeSource takes the graver of what the two threads show.
func judgeSource(src *SourceStatus, flavor string) verdict {
	rx, ap := judgeThread(flavor, receiver, &src.Receiver), judgeThread(flavor, applier, &src.Applier)
	if rx.class == ClassStopped && ap.class == ClassStopped && ap.reason == ReasonApplierStopped {
		rx.reason, rx.detail = ReasonThreadsStopped, "both threads are stopped without an error"
	}
	if grave(ap) > grave(rx) {
		return ap
	}
	return rx
}

// judgeThread judges one thread by its own state and error.
func judgeThread(flavor string, at place, t *ThreadStatus) verdict {
	v := verdict{fault: true, evidence: Evidence{Thread: string(at), Errno: t.Errno, Message: t.Message, GTID: t.GTID}}
	switch {
	case resourceText.MatchString(t.State):
		v.class, v.reason, v.detail = ClassUnknown, ReasonResource, fmt.Sprintf("%s: %s", at, t.State)
	case t.Running == ThreadRunning:
		return verdict{class: ClassHealthy}
	case t.Running == ThreadUnknown:
		v.class, v.reason, v.detail = ClassUnknown, ReasonUnrecognised, fmt.Sprintf("%s: state is not known", at)
	case t.Errno != 0:
		v.class, v.reason = recognise(flavor, at, t.Errno, t.Message)
		v.detail = cut(fmt.Sprintf("%s error %d: %s", at, t.Errno, t.Message))
	case t.Running == ThreadConnecting:
		v.class, v.reason, v.detail = ClassTransient, ReasonConnecting, cut("receiver is connecting: "+t.State)
	case at == receiver:
		v.class, v.reason, v.detail = ClassStopped, ReasonReceiverStopped, "receiver is stopped without an error"
	default:
		v.class, v.reason, v.detail = ClassStopped, ReasonApplierStopped, "applier is stopped without an error"
	}
	return v
}

// Refused is how the source refuses the account of this replica now, in the
// words of its receiver; empty where no error of class credential stands there.
// A diagnosis does not always say so: one that calls for a rebuild is graver.
func Refused(obs Observation) string {
	src := obs.Source()
	if src == nil {
		return ""
	}
	if v := judgeThread(obs.Flavor, receiver, &src.Receiver); v.class == ClassCredential {
		return v.detail
	}
	return ""
}

// grave orders verdicts: what forbids a rebuild comes before what calls for
// one, and that before what passes by itself.
func grave(v verdict) int {
	for i, reason := range []string{ReasonLockWait, ReasonTablespaceMissing, ReasonTableCorrupt, ReasonRelayLog, ReasonConfiguration,
		ReasonSourceDamaged, ReasonErrant, ReasonResource, ReasonOwnership} {
		if v.reason == reason {
			return 30 + i
		}
	}
	switch v.class {
	case ClassDivergent:
		return 22
	case ClassPurged:
		return 21
	case ClassUnknown:
		return 20
	case ClassCredential:
		return 12
	case ClassTransient:
		return 11
	case ClassStopped:
		return 10
	}
	return 0
}

// cut makes one short line of a message.
func cut(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
