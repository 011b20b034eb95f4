package main

import (
	"net"
	"testing"
)

// What is printed can be opened, also of a server that listens on all addresses.
func TestOpenable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", "[::1]:8080": "[::1]:8080", "192.0.2.1:80": "192.0.2.1:80",
		":8080": "localhost:8080", "0.0.0.0:443": "localhost:443", "[::]:443": "localhost:443",
	} {
		a, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if a.IP == nil {
			a.IP = net.IPv6unspecified // as a listener has it
		}
		got, everywhere := openable(a, "localhost")
		if got != want || (everywhere != "") != (listen != want) {
			t.Errorf("%s: %s%s, want %s", listen, got, everywhere, want)
		}
	}
}

// A server on all addresses answers at the URL that it prints.
func TestListensEverywhere(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--listen", ":0", "--insecure", "--admin", ":0", "--insecure-admin")
	s.get("/healthz")
	(&process{t: t, url: s.admin}).get("/healthz")
	s.stop()
}
