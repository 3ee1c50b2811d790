package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// privateKey is where a script keeps what makes its private server.
type privateKey struct{}

// A private server is a real one for one script, which can be killed. Nobody comes to it
// before it is ready again: until then ejabberd refuses accounts as if the password was wrong
// (23.01).
type private struct {
	t      *testing.T // of all scripts
	start  func(dir string) (*realServer, func(), error)
	server *realServer
	link   *proxy
	starts int
}

// private replaces the server of all scripts by one of this script. The embedded server is
// one already.
func scriptPrivate(ts *testscript.TestScript, _ bool, _ []string) {
	p, ok := ts.Value(privateKey{}).(*private)
	if !ok {
		return
	}
	var stop func()
	var err error
	p.server, stop, err = p.start(p.t.TempDir())
	ts.Check(err)
	ts.Defer(stop)
	for _, jid := range []string{ts.Getenv("ROMEO"), ts.Getenv("JULIET")} {
		local, _, _ := strings.Cut(jid, "@")
		ts.Check(p.server.register(local, scriptPassword))
	}
	p.link = startProxy(p.t, p.server.starttls)
	ts.Setenv("XMPP_SERVER", p.link.addrs()[0])
	ts.Setenv("XMPP_CA_FILE", p.server.caFile)
}

func (p *private) disturb(how string) error {
	switch {
	case p.server == nil:
		return fmt.Errorf("disturb: there is no private server")
	case how == "cut":
		p.link.cut()
		return nil
	case how != "restart":
		return fmt.Errorf("disturb %s: not a private server", how)
	}
	p.link.refuse(0, true)
	defer p.link.refuse(0, false)
	p.server.kill()
	if err := p.server.run(); err != nil {
		return err
	}
	p.starts++
	return p.server.register(fmt.Sprint("ready", p.starts), scriptPassword)
}
