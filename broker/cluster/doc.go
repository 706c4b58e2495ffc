// Package cluster is the metadata of a Varve cluster on etcd: brokers, topics,
// partitions, configs, producer id blocks and tier pointers. Writes are etcd
// transactions that any broker may issue; reads come from an immutable Image that a
// watch keeps current. It holds no records and decides no leadership by lease alone:
// whoever acts as a leader carries an epoch that storage checks.
//
// # Keys
//
// All values are JSON. What an Image shows lies under one prefix, so that one ranged
// read and one watch are enough; what changes often and is read by its owner only
// (tier pointers, intents, producer ids) lies beside it and wakes no watch.
//
//	/varve/cluster                             {"id","format"}
//	/varve/image/tally                         empty; its version counts changes of the image
//	/varve/image/brokers/{broker:010}          registration, under the broker's lease
//	/varve/image/controller                    {"id"}, under the controller's lease
//	/varve/image/topics/{name}                 {"id","partitions","configs"}
//	/varve/image/creating/{topic}              token of who adds partitions, under its lease
//	/varve/image/deleting/{topic}              {"name","partitions","configs"}
//	/varve/image/partitions/{topic}/{partition:05}/replicas   [broker,...]
//	/varve/image/partitions/{topic}/{partition:05}/leader     {"id","epoch"}
//	/varve/image/partitions/{topic}/{partition:05}/isr        [broker,...]
//	/varve/image/configs/{broker:010}          dynamic configs; "default": cluster-wide
//	/varve/image/group-configs/{group}         dynamic configs of a group
//	/varve/image/client-metrics/{name}         configs of a subscription to clients' metrics
//	/varve/image/quotas/{entity}               limits of an entity: names by type, null the default
//	/varve/image/scram/{user}                  SCRAM credentials of a user, by mechanism
//	/varve/image/features                      levels of features that somebody has set
//	/varve/stopped/{broker:010}                {"directory"} of a clean stop
//	/varve/producer-ids                        {"next"}
//	/varve/tier/{topic}/{partition:05}/pointer          tiering.Pointer
//	/varve/tier/{topic}/{partition:05}/intents/{uuid}   tiering.Intent
//
// {topic} is the topic id as Kafka prints it: 22 characters of base64url. The topic
// key is the commit point of creation and of new partitions: a partition exists when
// its number is below "partitions" of a topic key. Leader, in-sync replicas and
// assignment are separate keys, so that a change of the in-sync replicas does not
// fail a tier commit, which compares the leader key's revision.
//
// # Creation and deletion
//
// A transaction holds at most 128 operations (etcd's default, so that any etcd will
// do). A topic of up to 42 partitions is created in one. A larger one takes several:
//
//	begin    topic name free                       -> creating/{topic} = token
//	fill     creating/{topic} == token             -> partition keys, 42 partitions at a time
//	commit   creating/{topic} == token, name free  -> topics/{name}; creating/{topic} removed
//
// Partition keys without a topic key and without a creating key can never become a
// topic: Reconcile removes them. The creating key is under its creator's lease and so
// does not outlive it. Deletion moves the topic key to deleting/{topic} in one
// transaction; from then on tier commits and intents of the topic are refused.
//
// # Leadership, epochs and restarts
//
// Registration creates the broker key; its creation revision is the broker epoch.
// Every tier write compares it, besides the revision of the leader key: an old process
// of the same broker is fenced in one transaction however many partitions it led.
//
// A restart therefore needs no new leader epochs for fencing, and after a clean stop
// partitions keep theirs: logs end where they ended, clients need not validate their
// positions (KIP-320), and a start with 1,000 partitions writes one key. After any
// other stop every partition led before gets a new epoch: a tail that was readable but
// not flushed (flush.messages above 1) may be gone, and records at the same offsets
// must then carry another epoch (KIP-101). KRaft raises the epoch in both cases, for
// it fences the broker by moving the leader. Proof of a clean stop is the stopped key
// that Deregister leaves; registration consumes it in its transaction and trusts it
// only for the same directory.
//
// Leases only detect failure. A broker whose lease is lost registers again by itself,
// with a new broker epoch, or stops where another broker took its id.
//
// A directory lock keeps two processes off one data directory. So where a registration
// names our directory its owner is dead, and the id is taken over at once; otherwise
// its lease has to run out first.
//
// # What etcd may do to a watcher
//
// Events at or below the image's revision are dropped (a watch that goes back in time).
// Every change of the image puts the tally key in the same transaction; a step of its
// version other than one means lost events, and the state is read anew. So it is after
// compaction, and when the tally, read linearizably at each heartbeat, stays ahead of
// the watch. A store whose revision falls below the image's lost confirmed changes (a
// restored backup, a disk): Run ends with ErrRegressed, as the fences it gave out are
// worth nothing any more.
package cluster
