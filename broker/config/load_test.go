package config

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func mustLoad(t *testing.T, file string, env []string, sets ...string) (*Broker, []string) {
	t.Helper()
	b, notices, err := Load(Sources{File: strings.NewReader(file), Env: env, Sets: sets})
	if err != nil {
		t.Fatal(err)
	}
	return b, notices
}

// The files of Kafka's own quickstarts work as they are.
func TestQuickstartFilesLoad(t *testing.T) {
	for name, want := range map[string]struct {
		node     int32
		logDir   string
		notices  int
		listener Endpoint
	}{
		"0.9": {0, "/tmp/kafka-logs", 5, Endpoint{"PLAINTEXT", "", 9092}},
		"2.7": {0, "/tmp/kafka-logs", 5, Endpoint{"PLAINTEXT", "", 9092}},
		"4.3": {1, "/tmp/kraft-combined-logs", 7, Endpoint{"PLAINTEXT", "", 9092}},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.ReadFile("testdata/quickstart-" + name + ".properties")
			if err != nil {
				t.Fatal(err)
			}
			b, notices := mustLoad(t, string(file), nil)
			if b.NodeID != want.node || b.LogDirs[0] != want.logDir || len(b.Listeners) != 1 || b.Listeners[0] != want.listener {
				t.Errorf("node %d, %v, %v", b.NodeID, b.LogDirs, b.Listeners)
			}
			if len(notices) != want.notices {
				t.Errorf("%d notices, want %d:\n%s", len(notices), want.notices, strings.Join(notices, "\n"))
			}
			if b.Topic.RetentionMs != 7*24*hourInMs || b.SocketSendBufferBytes != 102400 {
				t.Errorf("%+v", b)
			}
		})
	}
}

func TestDefaultsAreTheQuickstarts(t *testing.T) {
	b, notices := mustLoad(t, "", nil)
	if len(notices) != 0 {
		t.Errorf("notices %q", notices)
	}
	want := Topic{
		RetentionMs: 604800000, RetentionBytes: -1, LocalRetentionMs: -2, LocalRetentionBytes: -2,
		CleanupDelete: true, SegmentBytes: 1 << 30, SegmentAge: 7 * 24 * time.Hour, IndexBytes: 10 << 20, IndexInterval: 4096,
		FlushMessages: 1, FlushAge: math.MaxInt64, MinInsyncReplicas: 1, MaxMessageBytes: 1048588, Compression: "producer", GzipLevel: -1, LZ4Level: 9, ZstdLevel: 3,
		TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3600000, DeleteRetention: 24 * time.Hour, MaxCompactionLag: math.MaxInt64,
		MinCleanableRatio: 0.5, DeleteDelay: time.Minute,
	}
	if b.Topic != want {
		t.Errorf("topic defaults\n%+v, want\n%+v", b.Topic, want)
	}
	for _, c := range []struct{ got, want any }{
		{b.NodeID, int32(0)}, {b.NumPartitions, int32(1)}, {b.DefaultReplicationFactor, int16(1)}, {b.AutoCreateTopics, true},
		{b.Listeners, []Endpoint{{"PLAINTEXT", "", 9092}}}, {len(b.AdvertisedListeners), 0}, {b.HTTPListener, "127.0.0.1:8092"},
		{b.LogDirs, []string{"/tmp/kafka-logs"}}, {b.MetadataDir, "/tmp/kafka-logs/metadata"}, {b.CacheDir, "/tmp/kafka-logs/cache"},
		{b.Bucket, Bucket{Driver: "file", Dir: "/tmp/kafka-logs/bucket"}}, {b.TieringDefault, true},
		{b.BrokerSessionTimeout, 9 * time.Second}, {b.OffsetsRetention, 7 * 24 * time.Hour}, {b.ConnectionsMaxIdle, 10 * time.Minute},
		{b.MaxConnections, 0}, {b.GroupMaxSize, math.MaxInt32}, {b.OffsetsTopicReplicationFactor, int16(3)},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	file, env, set := "num.partitions=2\nnode.id=7", []string{"VARVE_NUM_PARTITIONS=3", "HOME=/"}, "num.partitions=4"
	for _, c := range []struct {
		env  []string
		sets []string
		want int32
	}{{nil, nil, 2}, {env, nil, 3}, {env, []string{set}, 4}, {nil, []string{set}, 4}} {
		b, _ := mustLoad(t, file, c.env, c.sets...)
		if b.NumPartitions != c.want || b.NodeID != 7 {
			t.Errorf("env %v sets %v: %d partitions, node %d", c.env, c.sets, b.NumPartitions, b.NodeID)
		}
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	read := func(path string) ([]byte, error) {
		if path == "/run/secrets/key" {
			return []byte("s3cr3t\n"), nil
		}
		return nil, fs.ErrNotExist
	}
	base := []string{"VARVE_BUCKET=minio://localhost:9000/varve/data", "VARVE_BUCKET_ACCESS_KEY=a"}
	b, _, err := Load(Sources{Env: append(base, "VARVE_BUCKET_SECRET_KEY_FILE=/run/secrets/key"), ReadFile: read})
	if err != nil {
		t.Fatal(err)
	}
	want := Bucket{Driver: "minio", Name: "varve", Prefix: "data/", Endpoint: "http://localhost:9000", AccessKeyID: "a", SecretAccessKey: "s3cr3t", PathStyle: true, Checksum: "when_required"}
	if b.Bucket != want {
		t.Errorf("%+v", b.Bucket)
	}
	for _, e := range b.Describe() {
		if e.Value != nil && strings.Contains(*e.Value, "s3cr3t") {
			t.Errorf("%s shows the secret", e.Name)
		}
	}
	_, _, err = Load(Sources{Env: append(base, "VARVE_BUCKET_SECRET_KEY_FILE=/gone"), ReadFile: read})
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrInvalid) {
		t.Errorf("missing file: %v", err)
	}
}

func TestKubernetesServiceVariablesAreNoSettings(t *testing.T) {
	mustLoad(t, "", []string{"VARVE_SERVICE_HOST=10.0.0.1", "VARVE_PORT=tcp://10.0.0.1:9092", "VARVE_PORT_9092_TCP_ADDR=10.0.0.1"})
}

// ms stands before minutes, and minutes before hours.
func TestFinerTimesGoFirst(t *testing.T) {
	for file, want := range map[string]int64{
		"log.retention.hours=2":                                                 2 * hourInMs,
		"log.retention.hours=2\nlog.retention.minutes=5":                        5 * minuteMs,
		"log.retention.minutes=5\nlog.retention.ms=1234\nlog.retention.hours=2": 1234,
		"log.retention.hours=-1":                                                -1,
		"log.retention.ms=-1\nlog.retention.hours=3":                            -1,
	} {
		b, _ := mustLoad(t, file, nil)
		if b.Topic.RetentionMs != want {
			t.Errorf("%q: %d, want %d", file, b.Topic.RetentionMs, want)
		}
	}
	b, _ := mustLoad(t, "log.roll.hours=1\nlog.roll.jitter.hours=2\nlog.flush.scheduler.interval.ms=500", nil)
	if b.Topic.SegmentAge != time.Hour || b.Topic.SegmentJitter != 2*time.Hour || b.Topic.FlushAge != 500*time.Millisecond {
		t.Errorf("%+v", b.Topic)
	}
}

func TestListeners(t *testing.T) {
	for file, want := range map[string]struct {
		listeners, advertised, http string
	}{
		"":                                     {"PLAINTEXT://:9092", "", "127.0.0.1:8092"},
		"port=9093":                            {"PLAINTEXT://:9093", "", "127.0.0.1:8093"},
		"port=9094\nhost.name=localhost":       {"PLAINTEXT://localhost:9094", "", "127.0.0.1:8094"},
		"listeners=plaintext://127.0.0.1:0":    {"PLAINTEXT://127.0.0.1:0", "", "127.0.0.1:0"},
		"listeners=PLAINTEXT://[::1]:1000":     {"PLAINTEXT://[::1]:1000", "", "127.0.0.1:2000"},
		"advertised.host.name=h.example.org":   {"PLAINTEXT://:9092", "PLAINTEXT://h.example.org:9092", "127.0.0.1:8092"},
		"varve.http.listener=none":             {"PLAINTEXT://:9092", "", ""},
		"varve.http.listener=0.0.0.0:9644":     {"PLAINTEXT://:9092", "", "0.0.0.0:9644"},
		"advertised.listeners=PLAINTEXT://b:1": {"PLAINTEXT://:9092", "PLAINTEXT://b:1", "127.0.0.1:8092"},
		"listeners=HOST://:9092,DOCKER://:19092\nadvertised.listeners=HOST://localhost:9092,DOCKER://varve:19092\nlistener.security.protocol.map=HOST:PLAINTEXT,DOCKER:PLAINTEXT\ninter.broker.listener.name=DOCKER": {
			"HOST://:9092 DOCKER://:19092", "HOST://localhost:9092 DOCKER://varve:19092", "127.0.0.1:8092"},
	} {
		b, _ := mustLoad(t, file, nil)
		if got := join(b.Listeners); got != want.listeners {
			t.Errorf("%q: listeners %s", file, got)
		}
		if got := join(b.AdvertisedListeners); got != want.advertised {
			t.Errorf("%q: advertised %s", file, got)
		}
		if b.HTTPListener != want.http {
			t.Errorf("%q: http %s", file, b.HTTPListener)
		}
	}
}

func join(all []Endpoint) string {
	var s []string
	for _, e := range all {
		s = append(s, e.String())
	}
	return strings.Join(s, " ")
}

// Each fault is a sentence that says what to do.
func TestLoadRefusals(t *testing.T) {
	for file, want := range map[string]string{
		"log.retention.hour=1":                           "Unknown setting log.retention.hour; did you mean log.retention.hours?",
		"varve.bukket=file:":                             "Unknown setting varve.bukket; did you mean varve.bucket?",
		"zzz=1":                                          "Unknown setting zzz",
		"retention.ms=1":                                 "retention.ms is a setting of topics; its default for all topics is log.retention.ms",
		"ssl.keystore.location=/x":                       "ssl.keystore.location is a setting of Apache Kafka that Varve does not have yet; take it out",
		"num.partitions=0":                               "Invalid value 0 for configuration num.partitions: Value must be at least 1",
		"num.partitions=x":                               "Invalid value x for configuration num.partitions: Not a number of type INT",
		"num.partitions=3000000000":                      "Invalid value 3000000000 for configuration num.partitions: Not a number of type INT",
		"port=65536":                                     "Invalid value 65536 for configuration port: Value must be no more than 65535",
		"auto.create.topics.enable=yes":                  "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false",
		"log.segment.bytes=1048575":                      "Invalid value 1048575 for configuration log.segment.bytes: Value must be at least 1048576",
		"log.message.timestamp.type=Mine":                "Invalid value Mine for configuration log.message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
		"compression.gzip.level=0":                       "Invalid value 0 for configuration compression.gzip.level: Value must be from 1 to 9, or -1",
		"unclean.leader.election.enable=true":            "Invalid value true for configuration unclean.leader.election.enable: Only the default, false, is possible as yet: a leader is always elected from the in-sync replicas",
		"log.cleaner.min.cleanable.ratio=2":              "Value must be no more than 1",
		"log.cleanup.policy=shred":                       "String must be one of: compact, delete",
		"broker.id=1\nnode.id=2":                         "You must set `node.id` to the same value as `broker.id`",
		"listeners=SSL://:9093":                          "Listener SSL has the security protocol SSL, which is not built yet; only PLAINTEXT is",
		"listeners=MINE://:9093":                         "No security protocol defined for listener MINE",
		"listeners=PLAINTEXT//x":                         `"PLAINTEXT//x" is not of the form NAME://host:port`,
		"listeners=PLAINTEXT://:70000":                   "has no port from 0 to 65535",
		"listeners=A://:1,A://:2":                        "Each listener must have a different name",
		"listeners=A://:1,B://:1":                        "Each listener must have a different port",
		"listeners=":                                     "At least one listener is needed",
		"advertised.listeners=PLAINTEXT://0.0.0.0:1":     "Clients cannot connect to PLAINTEXT://0.0.0.0:1",
		"advertised.listeners=OTHER://h:1":               "There is no listener OTHER in listeners",
		"log.dirs=/a,/a":                                 "Each directory must be named once",
		"log.local.retention.ms=-1":                      "Invalid value -1 for configuration log.local.retention.ms: Value must not be -1 as log.retention.ms value is set as 604800000.",
		"varve.bucket=minio://localhost:9000":            "It names no bucket",
		"varve.bucket=s3://b?region=x":                   "the rest are varve.bucket.* settings",
		"varve.bucket=s3://key:secret@b":                 "Credentials belong into varve.bucket.access.key",
		"varve.bucket=ftp://x":                           "It is none of file:DIRECTORY",
		"varve.bucket=minio://h:9000/b":                  "needs varve.bucket.access.key and varve.bucket.secret.key",
		"varve.bucket=s3://b\nvarve.bucket.access.key=a": "are needed both, or none",
		"remote.log.storage.system.enable=false":         "varve.tiering.default=false leaves new topics untiered",
		"group.min.session.timeout.ms=2000000":           "must be at most group.max.session.timeout.ms",
		`a=\u12`:                                         `line 1: \u needs four digits`,
	} {
		_, _, err := Load(Sources{File: strings.NewReader(file)})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got  %v\n want %s", file, err, want)
		}
	}
	for _, c := range []struct {
		env, set, want string
	}{
		{env: "VARVE_NUM_PARTITION=1", want: "Unknown variable VARVE_NUM_PARTITION; did you mean VARVE_NUM_PARTITIONS?"},
		{set: "num.partitions", want: "--set num.partitions is not of the form key=value"},
	} {
		s := Sources{}
		if c.env != "" {
			s.Env = []string{c.env}
		}
		if c.set != "" {
			s.Sets = []string{c.set}
		}
		if _, _, err := Load(s); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, _, err := Load(Sources{File: strings.NewReader("num.partitions=0\nlog.segment.bytes=1\nfoo.bar=1"), Sets: []string{"node.id=-5"}})
	var e *Error
	if !errors.As(err, &e) || len(e.Faults) != 4 {
		t.Fatalf("got %v", err)
	}
	if f := e.Faults[1]; f.Key != "log.segment.bytes" || f.Value != "1" {
		t.Errorf("%+v", f)
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	k := &Key{Name: "p", Type: Password, Sensitive: true, Enforcement: DefaultOnly}
	var f faults
	accept(k, "p", "hunter2", false, &f)
	if err := f.err(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestProperties(t *testing.T) {
	for in, want := range map[string][]property{
		"a=b":                              {{"a", "b", 1}},
		"a = b ":                           {{"a", "b ", 1}},
		"a:b":                              {{"a", "b", 1}},
		"a b":                              {{"a", "b", 1}},
		"  a\t=\tb=c":                      {{"a", "b=c", 1}},
		"# x\n! y\n\na=1":                  {{"a", "1", 4}},
		"a=b,\\\n   c,\\\n\td":             {{"a", "b,c,d", 1}},
		"a=b\\\\\nc=d":                     {{"a", `b\`, 1}, {"c", "d", 2}},
		"a=1\r\nb=2\rc=3":                  {{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}},
		`a\=b\:c\ d=e`:                     {{"a=b:c d", "e", 1}},
		`a=\t\n\r\f\u0041\q\\`:             {{"a", "\t\n\r\fAq\\", 1}},
		"a":                                {{"a", "", 1}},
		"a=":                               {{"a", "", 1}},
		"a=#no comment":                    {{"a", "#no comment", 1}},
		"a=\\":                             {{"a", "", 1}},
		"a=1\na=2":                         {{"a", "1", 1}, {"a", "2", 2}},
		"path=C:\\\\dir":                   {{"path", `C:\dir`, 1}},
		"# a comment that ends in \\\na=1": {{"a", "1", 2}},
	} {
		got, err := parseProperties(strings.NewReader(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"=b", "a=1\n : b", "a=\\u12G4", "a=\xff", strings.Repeat("#", maxPropertiesBytes+1)} {
		if _, err := parseProperties(strings.NewReader(in)); err == nil {
			t.Errorf("%.20q was accepted", in)
		}
	}
	if _, err := parseProperties(failing{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Whatever the file, Load returns; what it accepts can be described.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"0.9", "2.7", "4.3"} {
		file, err := os.ReadFile("testdata/quickstart-" + name + ".properties")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(file), "num.partitions=3")
	}
	f.Add("a\\=b = c,\\\n d\\u0041", "listeners=PLAINTEXT://[::1]:0")
	f.Add("varve.bucket=minio://h:1/b?secure=true", "log.dirs=,")
	f.Fuzz(func(t *testing.T, file, set string) {
		b, _, err := Load(Sources{File: strings.NewReader(file), Sets: []string{set}})
		if err != nil {
			if !errors.Is(err, ErrInvalid) || strings.TrimSpace(err.Error()) == "" {
				t.Fatalf("error %q", err)
			}
			return
		}
		b.Describe()
		if len(b.Listeners) == 0 || len(b.LogDirs) == 0 || b.Bucket.Driver == "" {
			t.Fatalf("accepted, but %+v", b)
		}
		for _, e := range b.DescribeTopic(nil) {
			if e.Value == nil {
				t.Fatalf("%s has no value", e.Name)
			}
		}
	})
}
