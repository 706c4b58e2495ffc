// Package verify judges what clients saw and what a bucket holds. It shares no code
// with the broker: a history is judged by its own rules (C1 to C8 of the reliability
// plan), a bucket by the bytes of its objects.
//
// A history is a list of sends, each logged before it leaves and after it ended, and of
// reads. A send ends as ok, with the offset; as fail, which is definitely not; or as
// info, which may have happened once and not twice. Values are unique. Golden histories,
// good and bad, show that each rule is able to fail.
package verify
