// Package verify judges what clients saw and what a bucket holds. It shares no code
// with the broker: a history is judged by its own rules (C1 to C14, C16 to C18, C20 of the
// reliability plan, and C21; the rows of one table), a bucket by the bytes of its objects.
//
// A history is a list of sends, each logged before it leaves and after it ended, of
// reads, and of what else was done and seen: transactions, commits of groups, marks that
// never go back, faults. An operation ends as ok; as fail, which is definitely not; or as
// info, which may have happened once and not twice. Values are unique. A rule is a
// function from one history to what breaks it; it takes time as sorting does and a fixed
// number of bytes for each operation. Golden histories, good and bad, show that each rule
// is able to fail.
package verify
