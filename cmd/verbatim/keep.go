package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readSecret is what stands in the file that a flag names or, if that was not given, in
// a variable of the environment ("" for none), less the white space around it; nil if
// there is neither. check says what is wrong with it. No error repeats it.
func readSecret(flag, file, variable string, check func([]byte) error) ([]byte, error) {
	b, from := []byte(os.Getenv(variable)), variable
	if file != "" {
		var err error
		if b, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		from = "--" + flag
	}
	if b = bytes.TrimSpace(b); len(b) == 0 && file == "" {
		return nil, nil
	}
	if err := check(b); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return b, nil
}

// keep writes a small file, all of it or nothing, that is still there after the
// machine has lost power.
func keep(name, text string) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
