package main

import "math/rand/v2"

// text is what record values are cut from: half of it phrases that compress to almost
// nothing, half of it characters that hardly do, in alternating runs of 50 bytes. It is
// the same in every run.
var text = makeText(4 << 20)

func makeText(size int) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
	const phrase = " INFO payment accepted, order shipped to customer "
	r := rand.New(rand.NewPCG(1, 2))
	t := make([]byte, 0, size+2*len(phrase))
	for len(t) < size {
		t = append(t, phrase...)
		for range len(phrase) {
			t = append(t, letters[r.IntN(len(letters))])
		}
	}
	return t[:size]
}

// value returns the i-th value of the given size; it shares memory with text.
func value(i, size int) []byte {
	const stride = 7919 // a prime: neighbours differ
	from := (i * stride) % (len(text) - size)
	return text[from : from+size : from+size]
}
