package watchdog

// The reasons of a diagnosis: a closed set, because they label metrics.
const (
	// divergent
	ReasonRowMissing      = "row-missing"
	ReasonDuplicateKey    = "duplicate-key"
	ReasonTableMissing    = "table-missing"
	ReasonDatabaseMissing = "database-missing"
	ReasonObjectExists    = "object-exists"
	ReasonSchemaMismatch  = "schema-mismatch"
	ReasonAccountMismatch = "account-mismatch"
	// purged
	ReasonPurged = "purged"
	// credential
	ReasonAccessDenied    = "access-denied"
	ReasonAccountLocked   = "account-locked"
	ReasonPasswordExpired = "password-expired"
	ReasonAuthentication  = "authentication"
	ReasonTLS             = "tls"
	// transient
	ReasonSourceUnreachable  = "source-unreachable"
	ReasonTooManyConnections = "too-many-connections"
	ReasonConnecting         = "connecting"
	ReasonRegistration       = "registration"
	// stopped
	ReasonThreadsStopped  = "threads-stopped"
	ReasonReceiverStopped = "receiver-stopped"
	ReasonApplierStopped  = "applier-stopped"
	ReasonApplierKilled   = "applier-killed"
	// lagging
	ReasonLag        = "lag"
	ReasonNoProgress = "no-progress"
	// unreachable
	ReasonServerDown = "server-down"
	ReasonLeftClosed = "left-closed" // it replicates, but a rebuild that failed left it closed to clients
	// unknown: what is wrong is known, but has no class of its own yet
	ReasonOwnership         = "ownership"
	ReasonResource          = "resource"
	ReasonErrant            = "errant"
	ReasonSourceDamaged     = "source-damaged"
	ReasonConfiguration     = "configuration"
	ReasonRelayLog          = "relay-log"
	ReasonLockWait          = "lock-wait"
	ReasonTablespaceMissing = "tablespace-missing"
	ReasonTableCorrupt      = "table-corrupt"
	// unknown: nothing can be said
	ReasonNoAnswer     = "no-answer"   // a statement hung
	ReasonOwnAccount   = "own-account" // the watchdog's own account was refused
	ReasonNotObserved  = "not-observed"
	ReasonNoSource     = "no-source" // a read-only server without a source
	ReasonManySources  = "many-sources"
	ReasonGroupMember  = "group-member"
	ReasonUnsupported  = "unsupported"
	ReasonRecovering   = "recovering" // threads run again, but not long enough to trust
	ReasonUnrecognised = "unrecognised"
)
