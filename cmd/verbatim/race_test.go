//go:build race

package main

// raced says that the race detector is in the program, which takes ten times the
// memory and the time then.
const raced = true
