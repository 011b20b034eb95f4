//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"verbatim/internal/harness"
)

// smallDisk mounts a file system of 64 MiB.
func smallDisk(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=700"); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	return nil
}

// fill takes all room that there is on the file system of dir, for as long as
// told, and gives it back.
func fill(ctx context.Context, dir string, d time.Duration) (err error) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	chunk := make([]byte, 1<<16)
	for end := time.Now().Add(d); time.Now().Before(end); {
		for { // what others gave back meanwhile, too
			if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				return err
			}
		}
		if err := harness.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// plug is a disk whose power can be cut: a file as a loop device with ext4,
// which commits nothing by itself for minutes. What survives a cut is what was
// fsynced, and what fsync takes with it.
type plug struct{ image, dir string }

func newPlug(ctx context.Context, image, dir string) (*plug, error) {
	p := &plug{image, dir}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		return nil, err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return nil, err
	}
	return p, p.in(ctx)
}

// in puts the disk in; ext4 mends itself by its journal.
func (p *plug) in(ctx context.Context) error {
	return command(ctx, "mount", "-o", "loop,commit=300", p.image, p.dir)
}

// cut takes the power away: from now on nothing reaches the disk, and what was
// not on it is gone. Whoever still uses it gets errors.
func (p *plug) cut() error {
	const shutdown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	d, err := os.Open(p.dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noLogFlush)
	return errors.Join(err, d.Close())
}

// out takes the disk out. Nobody uses it any more.
func (p *plug) out(ctx context.Context) error { return command(ctx, "umount", p.dir) }

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
