package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"verbatim/media"
	"verbatim/media/relay"
	"verbatim/signaling"
)

// reachFlags are about the way from clients to the media port.
type reachFlags struct {
	PublicIP []string `name:"public-ip" help:"Address at which this machine is reached from outside, when none of its interfaces has it (1:1 NAT): clients are told of it instead of the private ones. LOCAL/PUBLIC: the one that leads to LOCAL. May be repeated." placeholder:"IP" group:"Reach"`
	MediaTCP string   `name:"media-tcp" help:"TCP address for media of clients that cannot send UDP (ICE-TCP), as --media-listen, or none (default: the same port, where nothing else has it)." placeholder:"[HOST]:PORT" group:"Reach"`

	TURNListen     string `name:"turn-listen" help:"UDP and TCP address of a TURN server for clients that do not reach the media port; it relays to that and nothing else. It needs credentials, which the server gives to those who join." placeholder:"[HOST]:3478" group:"Reach"`
	TURNSListen    string `name:"turns-listen" help:"TLS address of it, with the server's certificate." placeholder:"[HOST]:5349" group:"Reach"`
	TURNHost       string `name:"turn-host" help:"Name or address at which clients find it (default: that by which they have called the server)." placeholder:"NAME" group:"Reach"`
	TURNRealm      string `name:"turn-realm" help:"Its realm (${default})." default:"verbatim" placeholder:"NAME" group:"Reach"`
	TURNSecretFile string `name:"turn-secret-file" help:"File with the secret that its credentials are made of, for several servers to have the same (default: random)." type:"path" placeholder:"FILE" group:"Reach"`
}

// config adds what is said of the media port.
func (f *reachFlags) config(c *media.Config) error {
	switch f.MediaTCP {
	case "":
		c.ListenTCP = media.SamePort
	case "none":
	default:
		c.ListenTCP = f.MediaTCP
	}
	for _, text := range f.PublicIP {
		p, err := media.ParsePublicIP(text)
		if err != nil {
			return fmt.Errorf("--public-ip: %w", err)
		}
		c.PublicIPs = append(c.PublicIPs, p)
	}
	return nil
}

// Check implements checker.
func (f *reachFlags) Check(ctx context.Context) error {
	var errs []error
	for name, address := range map[string]string{"media-tcp": f.MediaTCP, "turn-listen": f.TURNListen, "turns-listen": f.TURNSListen} {
		if address == "" || address == "none" && name == "media-tcp" {
			continue
		}
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w; want IP:PORT, or :PORT for every interface", name, err))
		}
	}
	if f.TURNSecretFile != "" {
		if _, err := f.turnSecret(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, f.config(&media.Config{}))...)
}

// checkTLS says what the flags lack if the server has no certificate.
func (f *reachFlags) checkTLS(certificate bool) error {
	if f.TURNSListen != "" && !certificate {
		return errors.New("--turns-listen needs the server's certificate: --tls-cert or --acme-domain")
	}
	return nil
}

// turnSecret is a random one if none was given.
func (f *reachFlags) turnSecret() ([]byte, error) {
	if f.TURNSecretFile == "" {
		return []byte(rand.Text()), nil
	}
	return readSecret("turn-secret-file", f.TURNSecretFile, "", signaling.CheckSecret)
}

// relay starts the TURN server for the media port, nil for none. Clients are told
// of it as tell says.
func (f *reachFlags) relay(m *media.Engine, c *tls.Config) (server *relay.Server, tell []signaling.ICEServer, err error) {
	if f.TURNListen == "" && f.TURNSListen == "" {
		return nil, nil, nil
	}
	if err := f.checkTLS(c != nil); err != nil {
		return nil, nil, err
	}
	secret, err := f.turnSecret()
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		c = c.Clone()
		c.NextProtos = nil // none of HTTP's, and no challenges of ACME
	}
	server, err = relay.Listen(relay.Config{
		Listen: f.TURNListen, ListenTLS: f.TURNSListen, TLS: c, Realm: f.TURNRealm, Secret: secret, Peers: m.Peers(),
	})
	if err != nil {
		return nil, nil, err
	}
	for _, over := range []string{"udp", "tcp", "tls"} {
		if port := server.Port(over); port != 0 {
			tell = append(tell, signaling.OurTURN(f.TURNHost, port, over, secret))
		}
	}
	return server, tell, nil
}
