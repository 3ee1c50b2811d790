package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/xmpp"
	"xmppkit/xmpp/receive"
)

// openPosition opens, locks and reads the position of a durable listener. It fails
// while another listener of that name runs.
func (env *Env) openPosition(name string, account xmpp.JID) (*receive.Position, error) {
	file := env.stateFile("durable-"+name, account)
	if file == "" {
		return nil, exit.Configf("--state-dir or XDG_STATE_HOME", "--durable: there is no state directory")
	}
	p, err := openPositionFile(file, account.Bare())
	if errors.Is(err, files.ErrLocked) {
		return nil, &exit.Error{Code: exit.Temporary, Class: "config", Err: fmt.Errorf("--durable %s: another listener of that name is running", name)}
	}
	if err != nil {
		return nil, positionError(err)
	}
	return p, nil
}

func positionError(err error) error {
	return &exit.Error{Code: exit.Output, Class: "output", Err: fmt.Errorf("--durable: %w", err), Hint: files.Hint(err)}
}

func openPositionFile(file string, account xmpp.JID) (*receive.Position, error) {
	f, err := files.OpenState(file, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if err = files.CreateState(file, receive.NewFile(account)); err == nil {
			f, err = files.OpenState(file, os.O_RDWR)
		}
	}
	if err != nil {
		return nil, err
	}
	var p *receive.Position
	if err = files.Lock(f); err == nil {
		p, err = receive.ReadPosition(f, account)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// durableName reports whether a name can be part of a file name.
func durableName(s string) bool {
	return len(s) <= 64 && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" && s[0] != '.' && s[0] != '-'
}
