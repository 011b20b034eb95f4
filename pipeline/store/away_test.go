package store

import (
	"context"
	"net"
	"strings"
	"testing"
)

// A PostgreSQL that cannot be reached is named first, then why, once; and never the
// password.
func TestOpenNamesTheServer(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close()) // nobody is there any more
	_, err = Open(context.Background(), "postgres://ada:hunter2@"+address+"/db")
	if err == nil {
		t.Fatal("it is open")
	}
	text := err.Error()
	if !strings.HasPrefix(text, "open PostgreSQL: "+address+" cannot be reached: ") || strings.Count(text, "refused") != 1 || strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}
