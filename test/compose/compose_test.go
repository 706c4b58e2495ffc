//go:build compose

package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/test/harness"
)

// limit bounds every single step: building an image is the longest.
const limit = 10 * time.Minute

// maxImage is how large the image may be, in bytes.
const maxImage = 60_000_000

// situation is compose/docker-compose.yml, up.
type situation struct {
	t       *testing.T
	root    string
	compose []string // the command and what is the same in every call
	project string
	env     []string
	host    string // host:port as this machine dials
	http    string
}

func up(t *testing.T) *situation {
	t.Helper()
	s := &situation{t: t, root: harness.Root(t), project: fmt.Sprintf("varvetest%d", os.Getpid())}
	if out, err := exec.Command(harness.NeedCommand(t, "docker"), "info").CombinedOutput(); err != nil {
		t.Fatalf("no Docker daemon answers; start one, and set DOCKER_HOST if it is elsewhere: %v\n%s", err, out)
	}
	port, httpPort := freePort(t), freePort(t)
	s.host, s.http = "localhost:"+port, "127.0.0.1:"+httpPort
	s.env = append(os.Environ(), "VARVE_BUILD=prebuilt", "VARVE_HOST_PORT="+port, "VARVE_HOST_HTTP_PORT="+httpPort)
	s.compose = append(composeCommand(t), "-p", s.project, "-f", filepath.Join(s.root, "compose", "docker-compose.yml"))
	s.needMinio()
	s.run([]string{"CGO_ENABLED=0"}, "", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "bin/varve", "./cmd/varve")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.command(nil, append(s.compose, "logs", "--tail=40")...).CombinedOutput()
			t.Logf("logs of the containers:\n%s", out)
		}
		if out, err := s.command(nil, append(s.compose, "down", "-v", "--rmi", "local", "--remove-orphans")...).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	s.run(nil, "", append(s.compose, "up", "-d", "--build")...)
	return s
}

// composeCommand is docker-compose, or the plugin of its second version.
func composeCommand(t *testing.T) []string {
	t.Helper()
	if os.Getenv("VARVE_COMPOSE") != "v2" {
		if path, err := exec.LookPath("docker-compose"); err == nil {
			return []string{path}
		}
	}
	if err := exec.Command("docker", "compose", "version").Run(); err != nil {
		t.Fatal("there is neither docker-compose nor `docker compose`: install one (apt-get install docker-compose)")
	}
	return []string{"docker", "compose"}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(harness.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *situation) command(env []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.root
	cmd.Env = append(append([]string{}, s.env...), env...)
	return cmd
}

// run runs a program and returns what it prints.
func (s *situation) run(env []string, stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.try(env, stdin, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (s *situation) try(env []string, stdin string, args ...string) (string, error) {
	cmd := s.command(env, args...)
	var errs strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w\n%s%s", err, out, errs.String())
	}
	return string(out), err
}

// minioDockerfile makes an image that compose/docker-compose.yml can use in place of
// MinIO's own, where no registry is reached: mc stands for the health check's client.
const minioDockerfile = `FROM scratch
ENV PATH=/
COPY minio mc /
ENTRYPOINT ["/minio"]
`

// mcSource answers mc ready local.
const mcSource = `package main

import (
	"net/http"
	"os"
)

func main() {
	r, err := http.Get("http://127.0.0.1:9000/minio/health/ready")
	if err != nil || r.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}
`

// needMinio makes sure that the image of the compose file is there: pulled, or built
// from the source of the MinIO that the other tests use.
func (s *situation) needMinio() {
	s.t.Helper()
	image := s.minioImage()
	if _, err := s.try(nil, "", "docker", "image", "inspect", image); err == nil {
		return
	}
	_, pull := s.try(nil, "", "docker", "pull", "-q", image)
	if pull == nil {
		return
	}
	s.t.Logf("%s cannot be pulled, it is built from source: %v", image, pull)
	dir := s.t.TempDir()
	static := filepath.Join(harness.Tools(s.t), "static")
	s.run([]string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOBIN=" + static}, "", "go", "install", "-ldflags", "-s -w", "github.com/minio/minio@"+s.minioVersion())
	for name, text := range map[string]string{"Dockerfile": minioDockerfile, "main.go": mcSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	s.run([]string{"CGO_ENABLED=0"}, "", "go", "build", "-o", filepath.Join(dir, "mc"), filepath.Join(dir, "main.go"))
	s.run(nil, "", "cp", filepath.Join(static, "minio"), dir)
	s.run(nil, "", "docker", "build", "-q", "-t", image, dir)
}

// minioImage is the image that the compose file names.
func (s *situation) minioImage() string {
	s.t.Helper()
	return after(s.t, filepath.Join(s.root, "compose", "docker-compose.yml"), "image: ")
}

// minioVersion is the version that test/tools/install.sh builds.
func (s *situation) minioVersion() string {
	s.t.Helper()
	return after(s.t, filepath.Join(s.root, "test", "tools", "install.sh"), "minio_version=")
}

// after returns the rest of the first line of a file that has a prefix.
func after(t *testing.T, path, prefix string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			return rest
		}
	}
	t.Fatalf("%s has no line %q", path, prefix)
	return ""
}

// hostVarve runs a command of this machine's varve.
func (s *situation) hostVarve(stdin string, args ...string) string {
	s.t.Helper()
	return s.run(nil, stdin, append([]string{"bin/varve", "--bootstrap-server", s.host}, args...)...)
}

// siblingVarve runs a command in another container of the network, as a user would:
// with the broker's service name.
func (s *situation) siblingVarve(image, stdin string, args ...string) string {
	s.t.Helper()
	return s.run(nil, stdin, append([]string{"docker", "run", "--rm", "-i", "--network", s.project + "_default", image, "--bootstrap-server", "varve:9092"}, args...)...)
}

// awaitStep is the pause between two looks at what takes its time in a container.
const awaitStep = 250 * time.Millisecond

func (s *situation) await(what string, do func() error) {
	s.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(awaitStep)
	defer tick.Stop()
	for err := do(); err != nil; err = do() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.t.Fatalf("waited in vain for %s: %v", what, err)
		}
	}
}

func TestHostAndSiblingContainerJustConnect(t *testing.T) {
	s := up(t)
	s.await("the broker", func() error {
		_, err := s.try(nil, "", "bin/varve", "health", "--timeout", "2s", "--bootstrap-server", s.host)
		return err
	})
	container := strings.TrimSpace(s.run(nil, "", append(s.compose, "ps", "-q", "varve")...))
	image := s.inspect(container, "{{.Image}}")
	var bytes int64
	if _, err := fmt.Sscan(s.run(nil, "", "docker", "image", "inspect", "-f", "{{.Size}}", image), &bytes); err != nil || bytes > maxImage {
		t.Errorf("the image has %d bytes, at most %d are wanted (%v)", bytes, maxImage, err)
	}
	t.Logf("the image has %.1f MB", float64(bytes)/1e6)
	if user := s.inspect(container, "{{.Config.User}}"); user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("the broker runs as %q", user)
	}
	s.advertisesLocalhost()

	s.hostVarve("", "topic", "create", "t", "--config", "segment.bytes=1048576", "--config", "local.retention.bytes=1048576")
	var fromHost, fromSibling strings.Builder
	for i := range 30000 {
		fmt.Fprintf(&fromHost, "host %05d %s\n", i, strings.Repeat("x", 90))
	}
	for i := range 30000 {
		fmt.Fprintf(&fromSibling, "sibling %05d %s\n", i, strings.Repeat("y", 90))
	}
	s.hostVarve(fromHost.String(), "produce", "t")
	s.siblingVarve(image, fromSibling.String(), "produce", "t")
	s.await("segments in MinIO, and gone from the disk", func() error {
		var status []struct {
			LocalStart int64 `json:"local_start"`
			Segments   int   `json:"remote_segments"`
		}
		out := s.hostVarve("", "tier", "status", "t", "--http", s.http, "--output", "json")
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			return err
		}
		if len(status) != 1 || status[0].LocalStart == 0 || status[0].Segments == 0 {
			return fmt.Errorf("tier status is %s", out)
		}
		return nil
	})
	want := fromHost.String() + fromSibling.String()
	read := []string{"consume", "t", "--from-beginning", "--until-end"}
	if got := s.hostVarve("", read...); got != want {
		t.Errorf("the host read %d bytes, want %d", len(got), len(want))
	}
	if got := s.siblingVarve(image, "", read...); got != want {
		t.Errorf("the sibling read %d bytes, want %d", len(got), len(want))
	}
	s.await("Docker to find the broker healthy", func() error {
		if health := s.inspect(container, "{{.State.Health.Status}}"); health != "healthy" {
			return fmt.Errorf("it is %s", health)
		}
		return nil
	})
	s.run(nil, "", append(s.compose, "restart", "varve")...)
	s.await("the broker's return", func() error {
		got, err := s.try(nil, "", append([]string{"bin/varve", "--bootstrap-server", s.host, "--timeout", "5s"}, read...)...)
		if err == nil && got != want {
			err = fmt.Errorf("after a restart the host read %d bytes, want %d", len(got), len(want))
		}
		return err
	})
}

func (s *situation) inspect(container, format string) string {
	s.t.Helper()
	return strings.TrimSpace(s.run(nil, "", "docker", "inspect", "-f", format, container))
}

// advertisesLocalhost makes sure that this machine is told an address that holds on any
// machine, not the container's, which only Linux could route to.
func (s *situation) advertisesLocalhost() {
	s.t.Helper()
	client, err := kadm.NewOptClient(kgo.SeedBrokers(s.host))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	brokers, err := client.ListBrokers(ctx)
	if err != nil || len(brokers) != 1 || fmt.Sprintf("%s:%d", brokers[0].Host, brokers[0].Port) != s.host {
		s.t.Errorf("the host is told %v, want %s (%v)", brokers, s.host, err)
	}
}
