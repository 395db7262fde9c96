package replica

// mySQL is the dialect of MySQL 8.0.23 to 9.
type mySQL struct {
	resetGTIDs    string // removes all binary logs and the executed set
	disableOnPeer string // the end of ALTER EVENT that leaves an event to the source
	hasGTIDOnly   bool   // CHANGE REPLICATION SOURCE knows GTID_ONLY
}

func newMySQL(number int) mySQL {
	d := mySQL{
		resetGTIDs:    "RESET MASTER",     // gone in 8.4
		disableOnPeer: "DISABLE ON SLAVE", // ON REPLICA is newer than 8.0
		hasGTIDOnly:   number >= 80027,
	}
	if number >= 80400 {
		d.resetGTIDs, d.disableOnPeer = "RESET BINARY LOGS AND GTIDS", "DISABLE ON REPLICA"
	}
	return d
}

func (mySQL) words() words {
	return words{
		stopReceiver: "STOP REPLICA IO_THREAD", startReceiver: "START REPLICA IO_THREAD",
		stopReplica: "STOP REPLICA", startReplica: "START REPLICA",
		startChannel: "START REPLICA FOR CHANNEL ?", status: "SHOW REPLICA STATUS",
	}
}
