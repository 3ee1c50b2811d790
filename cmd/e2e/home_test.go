package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"xmppkit/xmpp/xmpptest"
)

// home is the directory of one server, which holds everything it reads and writes, and its ports.
type home struct {
	dir                    string
	IP, Domain             string
	StartTLS, Direct, HTTP int    // HTTP is for accounts, and only ejabberd listens there
	Storage                string // of ejabberd: "sql" or "mnesia"
	uid, gid               int    // the user the server runs as
	ca                     *xmpptest.Authority
}

func (h *home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// furnish makes a home with all that the server needs before it starts.
func (r recipe) furnish(dir string) (*home, error) {
	if err := os.MkdirAll(filepath.Join(dir, r.directory), 0o755); err != nil {
		return nil, err
	}
	ports, err := freePorts(r.ip, 3)
	if err != nil {
		return nil, err
	}
	h := &home{
		ca: r.ca, dir: dir, IP: r.ip, Domain: r.domain, Storage: r.storage,
		StartTLS: ports[0], Direct: ports[1], HTTP: ports[2], uid: os.Getuid(), gid: os.Getgid(),
	}
	if h.uid == 0 {
		if h.uid, h.gid, err = lookUpUser(r.kind); err != nil {
			return nil, err
		}
		if err := letOthersReach(dir); err != nil {
			return nil, err
		}
	}
	if err := h.writeCertificates(); err != nil {
		return nil, err
	}
	if err := h.writeConfig(r.config); err != nil {
		return nil, err
	}
	return h, h.giveAway(dir)
}

// freePorts returns n ports that nothing listens on. All are held until the last one is known, so
// that they differ. They are none of those that the system gives to connections: one could take the
// port of a server while that is down.
func freePorts(ip string, n int) ([]int, error) {
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := 10_000 + mathrand.IntN(20_000)
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		switch {
		case err == nil:
			defer l.Close()
			ports = append(ports, port)
		case tries == 1000:
			return nil, err
		}
	}
	return ports, nil
}

// addr is where the server listens on a port.
func (h *home) addr(port int) string { return net.JoinHostPort(h.IP, strconv.Itoa(port)) }

func lookUpUser(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// letOthersReach opens the temporary directories above dir, which are made for their owner alone, to
// the user of the server.
func letOthersReach(dir string) error {
	top := filepath.Clean(os.TempDir()) + string(filepath.Separator)
	for ; strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// giveAway makes the user of the server the owner of a file, or of a directory and all below.
func (h *home) giveAway(path string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, h.uid, h.gid)
	})
}

// writeConfig fills in the ports. Paths are relative to the home, where the server runs.
func (h *home) writeConfig(name string) error {
	t, err := template.ParseFiles(filepath.Join(root, "testdata", "interop", name+".tmpl"))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, h); err != nil {
		return err
	}
	return os.WriteFile(h.path(name), b.Bytes(), 0o644)
}

// writeCertificates writes the certificate authority to ca.pem, and a certificate of it for the
// domain, together with its key, to server.pem. It does not name the IP address: a client has to check for
// the domain of the account, not for the address it has connected to.
func (h *home) writeCertificates() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := xmpptest.Template(h.Domain)
	leaf.DNSNames = []string{h.Domain, "*." + h.Domain} // the server has subdomains for its services
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	cert, err := h.ca.Issue(leaf, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	serverPEM := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := os.WriteFile(h.path("ca.pem"), h.ca.PEM(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(h.path("server.pem"), serverPEM, 0o600)
}

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// run starts cmd in h, as the user of the server, with its output in output.log.
func (h *home) run(cmd *exec.Cmd) (*process, error) {
	output, err := os.Create(h.path("output.log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.dir, output, output
	cmd.Env = append(cmd.Env, "HOME="+h.dir, "PATH="+os.Getenv("PATH"), "LC_ALL=C.UTF-8")
	if err := h.confine(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

func (p *process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and makes it end. Signals to one that has ended go nowhere.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

const patience = 2 * time.Minute // for a server to start, on a busy machine

var errPortTaken = errors.New("port is in use")

// waitReady returns when the server answers.
func (h *home) waitReady(p *process) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ended := p.hasEnded() // before its output is read, which is then complete
		err := h.probe()
		switch {
		case strings.Contains(h.lastOutput(), "in use"): // Prosody goes on without the port, and the probe finds the other program
			return errPortTaken
		case err == nil:
			return nil
		case ended:
			return errors.New("it ended at once")
		case time.Now().After(deadline):
			return fmt.Errorf("not ready after %v: %w", patience, err)
		}
	}
}

// probe makes a TLS handshake: ejabberd listens before it has loaded its certificate. The certificate
// also proves that no other server has taken the port.
func (h *home) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	plain, err := new(net.Dialer).DialContext(ctx, "tcp", h.addr(h.StartTLS))
	if err != nil {
		return err
	}
	plain.Close()
	secure := tls.Dialer{Config: &tls.Config{RootCAs: h.ca.Pool(), ServerName: h.Domain}}
	conn, err := secure.DialContext(ctx, "tcp", h.addr(h.Direct))
	if err != nil {
		return err
	}
	return conn.Close()
}

// lastOutput is the end of what the server has printed.
func (h *home) lastOutput() string {
	const limit = 4096
	b, err := os.ReadFile(h.path("output.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-limit):])
}
