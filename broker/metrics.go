package broker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/varvelog/varve/broker/auth"
	"github.com/varvelog/varve/broker/coordinator"
	"github.com/varvelog/varve/broker/wire"
	"github.com/varvelog/varve/tiering"
)

// Metrics are read from the counters that the packages below keep for themselves, at
// the moment of a scrape: a request pays for none of them.

// registry returns everything that /metrics shows.
func (b *Broker) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{b})
	if b.telemetry != nil {
		r.MustRegister(clientCollector{b.telemetry})
	}
	return r
}

// collector turns the broker's statistics into metrics.
type collector struct{ *Broker }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("varve_"+name, help, labels, nil)
}

// gauge is a row of the tables below: a metric and where its value is read.
type gauge[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*S) int64
}

var tierMetrics = []gauge[tiering.Stats]{
	{desc("tier_cache_bytes", "Bytes of remote chunks on local disk."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.CacheBytes }},
	{desc("tier_cache_chunks", "Remote chunks on local disk."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.CacheChunks }},
	{desc("tier_cache_hits_total", "Reads of remote chunks that were on local disk."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.CacheHits }},
	{desc("tier_cache_misses_total", "Reads of remote chunks that had to be fetched."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.CacheMisses }},
	{desc("tier_cache_evictions_total", "Chunks evicted from local disk."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.Evictions }},
	{desc("bucket_get_bytes_total", "Bytes read from the bucket."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.GetBytes }},
	{desc("bucket_get_requests_total", "GET requests to the bucket."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.GetCalls }},
	{desc("bucket_put_bytes_total", "Bytes written to the bucket."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.PutBytes }},
	{desc("bucket_put_requests_total", "PUT requests to the bucket."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.PutCalls }},
	{desc("bucket_delete_requests_total", "DELETE requests to the bucket."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.DeleteCalls }},
	{desc("tier_fetches_in_flight", "Ranges being fetched from the bucket."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.InFlight }},
	{desc("tier_fetches_queued", "Ranges waiting to be fetched from the bucket."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.Queued }},
	{desc("tier_checksum_failures_total", "Chunks whose bytes were not what was uploaded."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.ChecksumFailures }},
	{desc("bucket_orphans_deleted_total", "Objects that nothing named, found by listing and deleted."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.Orphans }},
	{desc("bucket_scrubbed_objects_total", "Objects read again and checked in the background."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.ScrubbedObjects }},
	{desc("bucket_scrubbed_bytes_total", "Bytes read again and checked in the background."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.ScrubbedBytes }},
	{desc("bucket_damaged_objects", "Objects that were found missing, cut short or corrupt in the background."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.Findings }},
	{desc("bucket_hedges_total", "Second requests for reads that were late."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.Hedges }},
	{desc("bucket_hedges_won_total", "Second requests that were answered first."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.HedgesWon }},
	{desc("bucket_slow_downs_total", "Answers of the bucket that asked for fewer requests."), prometheus.CounterValue, func(s *tiering.Stats) int64 { return s.SlowDowns }},
	{desc("bucket_read_window", "GET, HEAD and LIST requests that may wait for an answer at once."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.ReadWindow }},
	{desc("bucket_write_window", "PUT and DELETE requests that may wait for an answer at once."), prometheus.GaugeValue, func(s *tiering.Stats) int64 { return s.WriteWindow }},
}

var wireMetrics = []gauge[wire.Stats]{
	{desc("connections", "Open connections."), prometheus.GaugeValue, func(s *wire.Stats) int64 { return s.ConnectionsNow }},
	{desc("connections_accepted_total", "Connections accepted."), prometheus.CounterValue, func(s *wire.Stats) int64 { return s.Accepted }},
	{desc("requests_in_flight", "Requests started and not answered."), prometheus.GaugeValue, func(s *wire.Stats) int64 { return s.RequestsNow }},
	{desc("request_bytes_total", "Bytes of requests."), prometheus.CounterValue, func(s *wire.Stats) int64 { return s.RequestBytes }},
	{desc("request_bytes_in_flight", "Bytes of requests in memory."), prometheus.GaugeValue, func(s *wire.Stats) int64 { return s.InFlightNow }},
	{desc("response_bytes_total", "Bytes of responses."), prometheus.CounterValue, func(s *wire.Stats) int64 { return s.ResponseBytes }},
	{desc("sendfile_bytes_total", "Bytes of records that left by sendfile."), prometheus.CounterValue, func(s *wire.Stats) int64 { return s.SendfileBytes }},
	{desc("copied_bytes_total", "Bytes of records that were copied to leave."), prometheus.CounterValue, func(s *wire.Stats) int64 { return s.CopiedBytes }},
}

var cleanerMetrics = []gauge[cleanerStats]{
	{desc("cleaner_passes_total", "Passes of compaction over a log."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.Passes }},
	{desc("cleaner_failures_total", "Passes of compaction that failed."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.Failures }},
	{desc("cleaner_read_bytes_total", "Bytes read by compaction."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.BytesRead }},
	{desc("cleaner_segment_bytes_total", "Bytes of segments before their compaction."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.BytesBefore }},
	{desc("cleaner_kept_bytes_total", "Bytes of segments after their compaction."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.BytesWritten }},
	{desc("cleaner_records_total", "Records that compaction looked at."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.Records }},
	{desc("cleaner_kept_records_total", "Records that compaction kept."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.RecordsKept }},
	{desc("cleaner_duration_ms_total", "Time spent in passes of compaction, in ms."), prometheus.CounterValue, func(s *cleanerStats) int64 { return s.Duration.Milliseconds() }},
	{desc("cleaner_last_duration_ms", "Time of the last pass of compaction, in ms."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.LastDuration.Milliseconds() }},
	{desc("cleaner_last_dirty_percent", "Dirty share of the log that was compacted last, before that."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.LastDirtyPercent }},
	{desc("cleaner_max_dirty_percent", "Dirty share of the dirtiest compacted log."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.MaxDirtyPercent }},
	{desc("cleaner_dirty_bytes", "Bytes of all compacted logs that are to be compacted."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.DirtyBytes }},
	{desc("cleaner_max_delay_ms", "By how much max.compaction.lag.ms is exceeded at most, in ms."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.MaxDelay.Milliseconds() }},
	{desc("cleaner_uncleanable_partitions", "Partitions that cannot be compacted, as corrupt ones."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.Uncleanable }},
	{desc("cleaner_uncleanable_bytes", "Bytes of partitions that cannot be compacted."), prometheus.GaugeValue, func(s *cleanerStats) int64 { return s.UncleanableBytes }},
}

var transactionMetrics = []gauge[coordinator.TransactionStats]{
	{desc("transactional_ids", "Transactional ids that this broker coordinates."), prometheus.GaugeValue, func(s *coordinator.TransactionStats) int64 { return s.IDs }},
	{desc("transactions_open", "Transactions that are open."), prometheus.GaugeValue, func(s *coordinator.TransactionStats) int64 { return s.Open }},
	{desc("transactions_completing", "Transactions whose markers are being written."), prometheus.GaugeValue, func(s *coordinator.TransactionStats) int64 { return s.Completing }},
	{desc("transactions_committed_total", "Transactions committed and completed."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.Committed }},
	{desc("transactions_aborted_total", "Transactions aborted and completed."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.Aborted }},
	{desc("transactions_timed_out_total", "Transactions aborted in their producer's place, as their time was up."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.TimedOut }},
	{desc("transactional_ids_expired_total", "Transactional ids forgotten since they were not used."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.Expired }},
	{desc("transaction_markers_total", "Markers written."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.MarkersWritten }},
	{desc("transaction_retries_total", "Rounds of markers, and completions, that had to be tried again."), prometheus.CounterValue, func(s *coordinator.TransactionStats) int64 { return s.MarkersTriedAgain }},
	{desc("transaction_partitions_loaded", "Partitions of __transaction_state that are served."), prometheus.GaugeValue, func(s *coordinator.TransactionStats) int64 { return s.Partitions }},
	{desc("transaction_partitions_loading", "Partitions of __transaction_state that are being loaded."), prometheus.GaugeValue, func(s *coordinator.TransactionStats) int64 { return s.LoadingOrLeftPartitions }},
}

var (
	requestsTotal   = desc("requests_total", "Requests by API.", "api")
	dirsOffline     = desc("log_directories_offline", "Log directories whose disk has failed, or could not be opened.")
	partitionsCount = desc("partitions", "Open partitions.")
	logBytes        = desc("log_bytes", "Bytes of local logs.")
	remoteBytes     = desc("remote_log_bytes", "Bytes of committed segments in the bucket.")
	quotaWaits      = desc("quota_throttles_total", "Requests and connections that were told to wait, by quota.", "quota")
	quotaWaitTime   = desc("quota_throttle_seconds_total", "Time that clients were told to wait, by quota.", "quota")
	closedTotal     = desc("connections_closed_total", "Connections closed by the broker, by reason.", "reason")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range tierMetrics {
		ch <- m.desc
	}
	for _, m := range wireMetrics {
		ch <- m.desc
	}
	for _, m := range transactionMetrics {
		ch <- m.desc
	}
	for _, m := range cleanerMetrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{requestsTotal, closedTotal, quotaWaits, quotaWaitTime, dirsOffline, partitionsCount, logBytes, remoteBytes} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	if c.server == nil {
		return // still opening
	}
	tier, wires, cleaned := c.tier.Stats(), c.wire.Stats(), c.cleaner.snapshot()
	for _, m := range cleanerMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&cleaned)))
	}
	for _, m := range tierMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&tier)))
	}
	for _, m := range wireMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&wires)))
	}
	transactions := c.transactions.Stats()
	for _, m := range transactionMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(&transactions)))
	}
	c.server.Requests(func(name string, count int64) {
		ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(count), name)
	})
	for reason, count := range wires.Closed {
		ch <- prometheus.MustNewConstMetric(closedTotal, prometheus.CounterValue, float64(count), reason)
	}
	for _, k := range auth.Kinds() {
		waits := c.limiter.Waits(k)
		ch <- prometheus.MustNewConstMetric(quotaWaits, prometheus.CounterValue, float64(waits.Count), k.String())
		ch <- prometheus.MustNewConstMetric(quotaWaitTime, prometheus.CounterValue, waits.Total.Seconds(), k.String())
	}
	var local, remote int64
	for _, r := range c.replicas.all() {
		l, m := r.Size()
		local, remote = local+l, remote+max(0, m)
	}
	ch <- prometheus.MustNewConstMetric(dirsOffline, prometheus.GaugeValue, float64(c.offlineDirs()))
	ch <- prometheus.MustNewConstMetric(partitionsCount, prometheus.GaugeValue, float64(len(c.replicas.all())))
	ch <- prometheus.MustNewConstMetric(logBytes, prometheus.GaugeValue, float64(local))
	ch <- prometheus.MustNewConstMetric(remoteBytes, prometheus.GaugeValue, float64(remote))
}
