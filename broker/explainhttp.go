package broker

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/varvelog/varve/broker/config"
)

// handleExplain answers GET /tier/explain?topic=T[&partition=N].
func (b *Broker) handleExplain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	index := int64(-1)
	if text := q.Get("partition"); text != "" {
		var err error
		if index, err = strconv.ParseInt(text, 10, 32); err != nil || index < 0 {
			refuse(w, http.StatusBadRequest, "partition is not a number of one")
			return
		}
	}
	all, err := b.explain(r.Context(), q.Get("topic"), int32(index))
	answerJSON(w, all, err)
}

// handleRehearse answers GET /tier/rehearse?topic=T&set=key=value&delete=key.
func (b *Broker) handleRehearse(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var ops []config.Op
	for _, set := range q["set"] {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			refuse(w, http.StatusBadRequest, "set is not of the form key=value")
			return
		}
		ops = append(ops, config.Op{Type: config.Set, Name: key, Value: &value})
	}
	for _, key := range q["delete"] {
		ops = append(ops, config.Op{Type: config.Delete, Name: key})
	}
	all, err := b.rehearse(r.Context(), q.Get("topic"), ops)
	answerJSON(w, all, err)
}

// answerJSON answers with a value, or with the sentence of what was asked wrongly.
func answerJSON(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, errUnknownTopic):
		refuse(w, http.StatusNotFound, err.Error())
	case errors.Is(err, config.ErrInvalid):
		refuse(w, http.StatusBadRequest, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // a reader that has gone
	}
}

// refuse answers with a sentence, marked as ours: a command line repeats it.
func refuse(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("X-Varve", "refusal")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	answer(w, status, sentence)
}
