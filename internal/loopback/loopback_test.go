package loopback

import "testing"

func TestName(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost:80": true, "127.0.0.1": true, "127.8.9.1:8080": true, "::1": true, "[::1]": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:1": true,
		"": false, ":80": false, "localhost.": false, "localhost.example": false, "evil.localhost": false, "127.0.0.1.example": false, "127.1": false,
		"2130706433": false, "0.0.0.0": false, "[::]:80": false, "10.0.0.1": false, "[::1].example": false, "localhost@example": false,
	} {
		if got := Name(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
