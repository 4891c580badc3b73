"""What outlives a crash: files, the write-ahead log, and the table of the state machine."""
