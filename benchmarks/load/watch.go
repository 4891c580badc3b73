package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	watchingConnections = 16
	createdWithin       = 2 * time.Minute
	deliveredWithin     = 2 * time.Minute
)

type watchReport struct {
	Puts       int     `json:"puts"` // Answered within the measured time.
	Seconds    float64 `json:"seconds"`
	PutP50     int64   `json:"put_p50_us"`
	PutP99     int64   `json:"put_p99_us"`
	Deliveries int     `json:"deliveries"` // Of all puts, those of the warm-up included.
	Responses  int     `json:"responses"`
	P50        int64   `json:"p50_us"` // From a put's call to its event, of the puts of the measured time.
	P99        int64   `json:"p99_us"`
	Max        int64   `json:"max_us"`
	Behind     float64 `json:"behind_s"` // From the last put's answer to the last event.
	ClientCPU  int64   `json:"client_cpu_us"`
	Failure    string  `json:"failure"`
}

// A watching is what one watcher has received.
type watching struct {
	latencies []int64
	events    int
	responses int
	revision  int64
}

// watch puts to some keys in a closed loop while watchers, evenly spread over the keys, receive every event.
// A value begins with the instant of its put's call, and whether that was within the measured time.
func watch(endpoints []string, work workload, watchers int) (watchReport, error) {
	clients, err := connect(endpoints, min(watchers, watchingConnections))
	if err != nil {
		return watchReport{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var created, received atomic.Int64
	var failed atomic.Pointer[string]
	fail := func(err error) {
		text := err.Error()
		failed.CompareAndSwap(nil, &text)
	}
	found := make([]*watching, watchers)
	for i := range found {
		w := &watching{}
		found[i] = w
		events := clients[i%len(clients)].Watch(ctx, keyName(i%work.keys), clientv3.WithCreatedNotify())
		go w.receive(events, &created, &received, fail)
	}
	if !await(createdWithin, func() bool { return created.Load() == int64(watchers) }) {
		return watchReport{}, fmt.Errorf("%d of %d watches were created", created.Load(), watchers)
	}

	puts := newPutters(endpoints, work, fail)
	if err := puts.err; err != nil {
		return watchReport{}, err
	}
	r := puts.run()
	answered := time.Now()
	share := int64(watchers / work.keys) // Of the watchers, those of one key.
	expected := share * puts.all.Load()
	if !await(deliveredWithin, func() bool { return received.Load() >= expected || failed.Load() != nil }) {
		fail(fmt.Errorf("%d of %d events were received", received.Load(), expected))
	}
	r.Behind = time.Since(answered).Seconds()
	cancel()
	summarize(&r, found)
	if received.Load() > expected {
		fail(fmt.Errorf("%d events were received, %d too many", received.Load(), received.Load()-expected))
	}
	if text := failed.Load(); text != nil {
		r.Failure = *text
	}
	return r, nil
}

func (w *watching) receive(events clientv3.WatchChan, created, received *atomic.Int64, fail func(error)) {
	for response := range events {
		if err := response.Err(); err != nil {
			fail(err)
			return
		}
		if response.Created {
			created.Add(1)
			continue
		}
		now := time.Now().UnixNano()
		w.responses++
		w.events += len(response.Events)
		for _, event := range response.Events {
			if event.Kv.ModRevision <= w.revision {
				fail(fmt.Errorf("revision %d after %d", event.Kv.ModRevision, w.revision))
				return
			}
			w.revision = event.Kv.ModRevision
			if called, counts := readStamp(event.Kv.Value); counts {
				w.latencies = append(w.latencies, (now-called)/1000)
			}
		}
		received.Add(int64(len(response.Events)))
	}
}

func await(limit time.Duration, condition func() bool) bool {
	for end := time.Now().Add(limit); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Putters put one after the other, each to its share of the keys.
type putters struct {
	work    workload
	clients []*clientv3.Client
	phase   atomic.Int32
	all     atomic.Int64
	fail    func(error)
	err     error
}

func newPutters(endpoints []string, work workload, fail func(error)) *putters {
	p := &putters{work: work, fail: fail}
	p.clients, p.err = connect(endpoints, max(1, work.callers/callersPerConnection))
	return p
}

func (p *putters) run() watchReport {
	latencies := make([][]int64, p.work.callers)
	var running sync.WaitGroup
	for i := range p.work.callers {
		running.Add(1)
		go func() {
			defer running.Done()
			latencies[i] = p.loop(i)
		}()
	}
	time.Sleep(p.work.warmup)
	begin, cpu := time.Now(), cpuTime()
	p.phase.Store(measuring)
	fmt.Println("measuring")
	time.Sleep(p.work.measured)
	p.phase.Store(stopped)
	seconds, cpu := time.Since(begin).Seconds(), cpuTime()-cpu
	fmt.Println("measured")
	running.Wait()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	r := watchReport{Puts: len(all), Seconds: seconds, ClientCPU: cpu}
	if len(all) == 0 {
		p.fail(errors.New("nothing was answered within the measured time"))
		return r
	}
	r.PutP50, r.PutP99 = all[(len(all)-1)*50/100], all[(len(all)-1)*99/100]
	return r
}

func (p *putters) loop(number int) []int64 {
	var latencies []int64
	client := p.clients[number%len(p.clients)]
	value := []byte(randomValue(p.work.valueSize, uint64(number)))
	for key := number; ; key += p.work.callers {
		phase := p.phase.Load()
		if phase == stopped {
			return latencies
		}
		begin := time.Now()
		writeStamp(value, begin.UnixNano(), phase == measuring)
		p.all.Add(1)
		if _, err := client.Put(context.Background(), keyName(key%p.work.keys), string(value)); err != nil {
			p.fail(fmt.Errorf("put: %w", err))
			return latencies
		}
		if phase == measuring && p.phase.Load() == measuring {
			latencies = append(latencies, time.Since(begin).Microseconds())
		}
		time.Sleep(p.work.pause)
	}
}

func writeStamp(value []byte, instant int64, counts bool) {
	binary.BigEndian.PutUint64(value, uint64(instant))
	value[8] = 0
	if counts {
		value[8] = 1
	}
}

func readStamp(value []byte) (int64, bool) {
	return int64(binary.BigEndian.Uint64(value)), value[8] == 1
}

func summarize(r *watchReport, found []*watching) {
	var latencies []int64
	for _, w := range found {
		r.Deliveries += w.events
		r.Responses += w.responses
		latencies = append(latencies, w.latencies...)
	}
	if len(latencies) > 0 {
		slices.Sort(latencies)
		at := func(percent int) int64 { return latencies[(len(latencies)-1)*percent/100] }
		r.P50, r.P99, r.Max = at(50), at(99), at(100)
	}
}
