package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Broker is a varve process with its data directory.
type Broker struct {
	*Process
	t        testing.TB
	binary   string
	Dir      string // data directory
	Address  string // host:port that clients dial; stays the same over restarts
	HTTP     string // host:port of the operators' listener
	sets     []string
	env      []string
	launched time.Time
	Started  time.Duration // from exec to the ready line
}

// StartBroker starts a varve server on free loopback ports in a new data directory.
// sets are key=value pairs of configuration.
func StartBroker(t testing.TB, sets ...string) *Broker {
	t.Helper()
	return StartBrokerOf(t, Varve(t), nil, sets...)
}

// StartBrokerOf is StartBroker for another binary that takes varve's arguments, with
// further variables of the environment.
func StartBrokerOf(t testing.TB, binary string, env []string, sets ...string) *Broker {
	t.Helper()
	b := &Broker{t: t, binary: binary, env: env, Dir: t.TempDir(), Address: FreeAddress(t), HTTP: FreeAddress(t), sets: sets}
	b.Start()
	return b
}

// Ports of FreeAddress: below those that Linux gives to outgoing connections
// (ip_local_port_range), one of which would else sit on the port of a broker that is down.
const (
	firstPort = 15_000
	lastPort  = 32_000
)

var given sync.Map // port: struct{}{}, of this process

// FreeAddress returns a loopback address with a port that was free a moment ago, and that
// it has not returned before.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if _, taken := given.LoadOrStore(port, struct{}{}); taken {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no free port")
	return ""
}

// readyLimit is how long a start may take at most before a test gives up on it.
const readyLimit = 60 * time.Second

// Start starts the process again over the same directory and addresses, with further
// settings if there are any, and waits for its ready line.
func (b *Broker) Start(sets ...string) {
	b.t.Helper()
	b.Launch(sets...)
	b.WaitReady()
}

// Launch is Start without the wait: what happens to a broker that is still starting is
// worth testing, too.
func (b *Broker) Launch(sets ...string) {
	b.t.Helper()
	b.launched = time.Now()
	p := StartProcess(b.t, "varve", b.command(sets))
	b.t.Cleanup(func() {
		if b.t.Failed() && p.Running() {
			p.dump(b.t)
		}
	})
	b.Process = p
}

// WaitReady waits for the ready line of a launched process.
func (b *Broker) WaitReady() {
	b.t.Helper()
	b.WaitLine(b.t, "varve is ready", readyLimit)
	b.Started = time.Since(b.launched)
}

func (b *Broker) command(sets []string) *exec.Cmd {
	args := []string{"server"}
	all := append([]string{
		"log.dirs=" + b.Dir,
		"listeners=PLAINTEXT://" + b.Address,
		"varve.http.listener=" + b.HTTP,
	}, append(b.sets, sets...)...)
	for _, s := range all {
		args = append(args, "--set", s)
	}
	cmd := exec.Command(b.binary, args...)
	cmd.Env = append(withoutVarve(os.Environ()), b.env...)
	return cmd
}

// withoutVarve leaves out what would be a setting of a broker, or a mistaken one: the
// tests' own variables.
func withoutVarve(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "VARVE_") })
}

// Refused starts the process and expects it to end by itself with an error; it returns
// what was printed.
func (b *Broker) Refused(limit time.Duration, sets ...string) string {
	b.t.Helper()
	p := StartProcess(b.t, "varve", b.command(sets))
	if err := p.Wait(limit); err == nil {
		b.t.Fatalf("varve started and stopped without an error:\n%s", p.Output())
	} else if p.Running() {
		b.t.Fatalf("varve did not refuse to start: %v", err)
	}
	return p.Output()
}

// Port returns the port of Address.
func (b *Broker) Port() string {
	_, port, _ := strings.Cut(b.Address, ":")
	return port
}

// Run runs a varve command against this broker and returns its standard output.
func (b *Broker) Run(args ...string) string {
	b.t.Helper()
	cmd := exec.Command(b.binary, append(args, "--bootstrap-server", b.Address)...)
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("varve %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr(err))
	}
	return string(out)
}

func stderr(err error) string {
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it unwrapped
		return string(e.Stderr)
	}
	return fmt.Sprint(err)
}
