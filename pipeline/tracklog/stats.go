package tracklog

import "verbatim/media/audio"

// Stats are the numbers of a Store; those that count do so since New.
type Stats struct {
	Logs        int   // open
	MemoryBytes int64 // of the chunks of all logs
	MemoryLimit int64 // Options.MemoryBytes
	Shed        int64 // ticks (48 kHz) given up because they could not be written and memory was full
	// Each log that cannot be written or synced counts with every attempt.
	WriteFailures, SyncFailures uint64
}

// Stats may be called at any time; it does not wait for the disk.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	logs := len(s.logs)
	s.mu.Unlock()
	return Stats{
		Logs: logs, MemoryBytes: s.memory.Load(), MemoryLimit: s.o.MemoryBytes, Shed: s.shed.Load(),
		WriteFailures: s.writeFailures.Load(), SyncFailures: s.syncFailures.Load(),
	}
}

// Arrived is the account of what was appended, as it was before any of it was
// shed: unlike that of State, no part of it ever becomes less. What was shed of
// it since the log was opened is in Shed as well.
func (l *Log) Arrived() audio.Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.acct
	a.Received += l.moved.Received
	a.Recovered += l.moved.Recovered
	return a
}
