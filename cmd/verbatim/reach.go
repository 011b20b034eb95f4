package main

import (
	"fmt"

	"verbatim/media"
)

// reachFlags are about the way from clients to the media port.
type reachFlags struct {
	PublicIP []string `name:"public-ip" help:"Address at which this machine is reached from outside, when none of its interfaces has it (1:1 NAT): clients are told of it instead of the private ones. LOCAL/PUBLIC: the one that leads to LOCAL. May be repeated." placeholder:"IP" group:"Reach"`
	MediaTCP string   `name:"media-tcp" help:"TCP address for media of clients that cannot send UDP (ICE-TCP), as --media-listen, or none (default: the same port, where nothing else has it)." placeholder:"[HOST]:PORT" group:"Reach"`
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
