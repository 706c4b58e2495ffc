package clients

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCompareSortsTestsByBothOutcomes has one test for each pair of results.
func TestCompareSortsTestsByBothOutcomes(t *testing.T) {
	kafka := Run{
		"both":   {Result: Passed},
		"broken": {Result: Passed},
		"gone":   {Result: Passed},
		"shy":    {Result: Passed},
		"slow":   {Passed, "was slow"},
		"ours":   {Failed, "needs three brokers"},
		"none":   {Failed, "needs logins"},
		"left":   {Skipped, "needs TLS"},
	}
	varve := Run{
		"both":   {Result: Passed},
		"broken": {Failed, "timed out"},
		"shy":    {Skipped, "cannot"},
		"slow":   {Result: Passed},
		"ours":   {Result: Passed},
		"none":   {Failed, "needs anything"},
		"left":   {Failed, "fell over"},
		"new":    {Failed, "fell over"},
	}
	c := Compare("suite", kafka, varve)
	for _, want := range []struct {
		what string
		got  []Row
		want []Row
	}{
		{"broken", c.Broken, []Row{{"broken", "timed out"}, {"gone", "did not run"}, {"shy", "cannot"}}},
		{"varve only", c.VarveOnly, []Row{{"ours", "needs three brokers"}}},
		{"neither", c.Neither, []Row{{"new", "did not run"}, {"none", "needs logins"}}},
		{"skipped", c.Skipped, []Row{{"left", "needs TLS"}}},
		{"unsteady", c.Unsteady, []Row{{"slow", "Kafka: was slow"}}},
	} {
		if !slices.Equal(want.got, want.want) {
			t.Errorf("%s:\n got %v\nwant %v", want.what, want.got, want.want)
		}
	}
	if c.Both != 2 {
		t.Errorf("%d tests pass on both, want 2", c.Both)
	}
}

// TestDoubtfulIsWhatPassesOnTheOtherBrokerOnly names each process once, and nothing that
// fails on both or is skipped.
func TestDoubtfulIsWhatPassesOnTheOtherBrokerOnly(t *testing.T) {
	here := Run{"fence": {Failed, "timed out"}, "fence/a": {Failed, "late"}, "broken": {Failed, "always"}, "skipped": {Skipped, "old"}, "both": {Result: Passed}}
	there := Run{
		"fence": {Result: Passed}, "fence/a": {Result: Passed}, "gone/b": {Result: Passed}, "package": {Result: Passed},
		"broken": {Failed, "here, too"}, "skipped": {Result: Passed}, "both": {Result: Passed},
	}
	process := func(name string) string {
		if name == "package" {
			return ""
		}
		test, _, _ := strings.Cut(name, "/")
		return test
	}
	if got, want := here.Doubtful(there, process), []string{"fence", "gone"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSteadyTakesWhatPassesWhenRunAgain: the test that failed, and the parts of it that had
// not run; a pass stays one.
func TestSteadyTakesWhatPassesWhenRunAgain(t *testing.T) {
	run := Run{"fence": {Failed, "timed out"}, "fence/a": {Result: Passed}, "broken": {Failed, "always"}, "other": {Result: Skipped}}
	run.Steady(Run{"broken": {Failed, "again"}})
	run.Steady(Run{"fence": {Result: Passed}, "fence/a": {Failed, "late"}, "fence/b": {Result: Passed}})
	want := Run{
		"fence": {Passed, "timed out"}, "fence/a": {Result: Passed}, "fence/b": {Passed, "timed out"},
		"broken": {Failed, "always"}, "other": {Result: Skipped},
	}
	if !maps.Equal(run, want) {
		t.Errorf("got %v, want %v", run, want)
	}
}

// TestMergeKeepsTheWorseResult holds a test that is run in parts to all of them.
func TestMergeKeepsTheWorseResult(t *testing.T) {
	for _, c := range []struct{ first, second, want Result }{
		{Passed, Passed, Passed},
		{Passed, Failed, Failed},
		{Failed, Passed, Failed},
		{Failed, Skipped, Failed},
		{Skipped, Failed, Failed},
		{Skipped, Passed, Skipped},
	} {
		run := Run{"x": {Result: c.first}}
		run.Merge(Run{"x": {Result: c.second}})
		if got := run["x"].Result; got != c.want {
			t.Errorf("%v and %v: got %v, want %v", c.first, c.second, got, c.want)
		}
	}
}

// TestReadGoTestNamesTestsByPackage reads passes, failures with what they said, skips,
// subtests, and a package that ends outside its tests.
func TestReadGoTestNamesTestsByPackage(t *testing.T) {
	run, err := ReadGoTest(strings.NewReader(`{"Action":"start","Package":"x/kgo"}
{"Action":"run","Package":"x/kgo","Test":"TestA"}
{"Action":"output","Package":"x/kgo","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"x/kgo","Test":"TestA","Output":"    a_test.go:1: no broker\n"}
{"Action":"output","Package":"x/kgo","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"x/kgo","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"x/kgo","Test":"TestB/sub","Elapsed":0}
{"Action":"pass","Package":"x/kgo","Test":"TestB","Elapsed":0}
{"Action":"skip","Package":"x/kadm","Test":"TestC","Elapsed":0}
{"Action":"pass","Package":"x/kadm","Elapsed":0}
{"Action":"fail","Package":"x/kgo","Elapsed":0}
{"Action":"pass","Package":"x/sticky","Test":"TestD","Elapsed":0}
{"Action":"output","Package":"x/sticky","Output":"panic: no\n"}
{"Action":"fail","Package":"x/sticky","Elapsed":0}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Run{
		"sticky":        {Failed, "panic: no\n"},
		"sticky.TestD":  {Result: Passed},
		"kgo.TestA":     {Failed, "    a_test.go:1: no broker\n"},
		"kgo.TestB":     {Result: Passed},
		"kgo.TestB/sub": {Result: Passed},
		"kadm.TestC":    {Result: Skipped},
	}
	if !maps.Equal(run, want) {
		t.Errorf("got %v\nwant %v", run, want)
	}
	if _, err := ReadGoTest(strings.NewReader("FAIL\n")); err == nil {
		t.Error("what is not JSON was read without an error")
	}
}

// TestReadLibrdkafkaSeesEveryEnd reads what the test runner printed at a broker: passes,
// a skip, a failure in a subtest, and a test that was running when the process ended.
func TestReadLibrdkafkaSeesEveryEnd(t *testing.T) {
	b, err := os.ReadFile("testdata/librdkafka.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := Run{
		"0001_multiobj":      {Result: Passed},
		"0011_produce_batch": {Failed, `0011-produce_batch.c:718:test_message_single_partition_record_fail(): Test assertion failed: "invalid_record_fail_cnt == 10":`},
		"0011_produce_batch/test_message_single_partition_record_fail": {Failed, `0011-produce_batch.c:718:test_message_single_partition_record_fail(): Test assertion failed: "invalid_record_fail_cnt == 10":`},
		"0011_produce_batch/test_single_partition":                     {Result: Passed},
		"0011_produce_batch/test_slow_partition":                       {Result: Passed}, // after more than 100 s
		"0053_stats":                                                   {Skipped, "RapidJSON >=1.1.0 not available"},
		"0081_admin/do_test_ElectLeaders":                              {Skipped, "needs more brokers"},
		"0081_admin":                                                   {Failed, "did not end"},
	}
	if got := ReadLibrdkafka(string(b)); !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestNumbersAreOfTestsThatNeedABroker reads rows of test.c as they are written there.
func TestNumbersAreOfTestsThatNeedABroker(t *testing.T) {
	got := Numbers(`#define _TEST(NAME, FLAGS, ...) { .name = #NAME }
    _TEST(0000_unittests,
          TEST_F_LOCAL,
          _THRES(.ucpu = 100.0)),
    _TEST(0001_multiobj, 0),
    _TEST(0022_consume_batch, 0),
    _TEST(0022_consume_batch_local, TEST_F_LOCAL),
    _TEST(0049_consume_conn_close, TEST_F_SOCKEM, TEST_BRKVER(0, 9, 0, 0)),
    _TEST(0190_share_consumer_telemetry,
          TEST_F_MANUAL,
          TEST_BRKVER(4, 2, 0, 0)),
`)
	if want := []string{"0001", "0022", "0049"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSubtestsAreFunctionsThatSaySo reads functions as they are written in a test.
func TestSubtestsAreFunctionsThatSaySo(t *testing.T) {
	got := Subtests(`
static void do_test_CreateTopics(const char *what,
                                 rd_kafka_t *rk) {
        SUB_TEST_QUICK("%s", what);
}

static void helper(int x) {
        if (x) {
        }
}

void do_test_DeleteTopics(void) {
        SUB_TEST();
}

int main_0081_admin(int argc, char **argv) {
        do_test_DeleteTopics();
        return 0;
}
`)
	if want := []string{"do_test_CreateTopics", "do_test_DeleteTopics"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestWriteFitsAnyReasonIntoATable writes a reason that would break a row.
func TestWriteFitsAnyReasonIntoATable(t *testing.T) {
	var b strings.Builder
	c := Compare("suite", Run{"a": {Result: Passed}}, Run{"a": {Failed, "x | y\n<z> " + strings.Repeat("é", shownReason)}})
	c.Write(&b)
	row := `| a | x \| y &lt;z> ` + "é"
	if !strings.Contains(b.String(), row) || !strings.Contains(b.String(), "| pass | 1 | 0 |\n| fail | 0 | 1 |") {
		t.Errorf("no row %q in\n%s", row, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "|") && !strings.HasSuffix(line, "|\n") {
			t.Errorf("a row does not end where it should: %q", line)
		}
	}
}
