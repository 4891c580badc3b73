package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// drainLimit bounds how long the last requests may take once no more are sent.
const drainLimit = 10 * time.Second

type workload struct {
	kind                     kind
	callers, keys, valueSize int
	warmup, measured, pause  time.Duration
}

// A kind of load says how many of a hundred requests are puts, and how the others read.
type kind struct {
	putsInHundred int
	serializable  bool
}

var kinds = map[string]kind{
	"put":              {putsInHundred: 100},
	"get":              {},
	"serializable-get": {serializable: true},
	"mix":              {putsInHundred: 10},
}

type report struct {
	Operations  int     `json:"operations"` // Answered within the measured time.
	Seconds     float64 `json:"seconds"`
	P50         int64   `json:"p50_us"`
	P90         int64   `json:"p90_us"`
	P99         int64   `json:"p99_us"`
	Max         int64   `json:"max_us"`
	ClientCPU   int64   `json:"client_cpu_us"`
	Connections int     `json:"connections"`
	Failure     string  `json:"failure"` // The first reply that was not what it has to be; empty if all were.
}

const (
	warming int32 = iota
	measuring
	stopped
)

// A loop is what its callers share.
type loop struct {
	work    workload
	phase   atomic.Int32
	failure chan error // Holds the first failure.
	ctx     context.Context
}

// A caller has one request under way at any time. Its dice are seeded by its number, so each run asks for the same keys.
type caller struct {
	client     *clientv3.Client
	dice       *rand.Rand
	value      string
	revision   int64 // The newest it was told of.
	operations int
	latencies  []int64 // In microseconds, of the requests answered after the warm-up.
}

// closedLoop runs the workload. What goes wrong with a request is part of its report, not an error of its own.
func closedLoop(endpoints []string, work workload) (report, error) {
	connections := max(1, work.callers/callersPerConnection)
	clients, err := connect(endpoints, connections)
	if err != nil {
		return report{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := &loop{work: work, failure: make(chan error, 1), ctx: ctx}
	callers := make([]*caller, work.callers)
	var running sync.WaitGroup
	for i := range callers {
		callers[i] = &caller{
			client: clients[i%connections],
			dice:   rand.New(rand.NewPCG(uint64(i), 0)),
			value:  randomValue(work.valueSize, uint64(i)),
		}
		running.Add(1)
		go func() {
			defer running.Done()
			callers[i].run(l)
		}()
	}
	failure := l.sleep(work.warmup)
	begin, cpu := time.Now(), cpuTime()
	l.phase.Store(measuring)
	fmt.Println("measuring")
	if failure == nil {
		failure = l.sleep(work.measured)
	}
	l.phase.Store(stopped)
	seconds, cpu := time.Since(begin).Seconds(), cpuTime()-cpu
	fmt.Println("measured")

	// No request carries a deadline, as it is with the client's defaults; so the end has one.
	overdue := time.AfterFunc(drainLimit, cancel)
	running.Wait()
	overdue.Stop()
	if failure == nil {
		failure = l.sleep(0)
	}
	return summary(callers, report{Seconds: seconds, ClientCPU: cpu, Connections: connections}, failure), nil
}

// sleep waits, and returns early with the failure if there is one.
func (l *loop) sleep(d time.Duration) error {
	select {
	case err := <-l.failure:
		return err
	default:
	}
	select {
	case err := <-l.failure:
		return err
	case <-time.After(d):
		return nil
	}
}

func (c *caller) run(l *loop) {
	for l.phase.Load() != stopped {
		begin := time.Now()
		err := c.request(l)
		took := time.Since(begin)
		if err != nil {
			if l.ctx.Err() != nil {
				err = fmt.Errorf("no reply %v after the measured time had ended: %w", drainLimit, err)
			}
			select {
			case l.failure <- err:
			default: // Another caller failed first.
			}
			return
		}
		switch l.phase.Load() {
		case measuring:
			c.operations++
			c.latencies = append(c.latencies, took.Microseconds())
		case stopped: // Too late to count as throughput, but a reply that hung must show among the latencies.
			c.latencies = append(c.latencies, took.Microseconds())
		}
	}
}

func (c *caller) request(l *loop) error {
	key := keyName(c.dice.IntN(l.work.keys))
	if l.work.kind.putsInHundred > c.dice.IntN(100) {
		return c.put(l.ctx, key)
	}
	if l.work.kind.serializable {
		return c.get(l, key, clientv3.WithSerializable())
	}
	return c.get(l, key)
}

func (c *caller) put(ctx context.Context, key string) error {
	reply, err := c.client.Put(ctx, key, c.value)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if reply.Header.Revision <= c.revision {
		return fmt.Errorf("put %s: revision %d, though %d was seen before it", key, reply.Header.Revision, c.revision)
	}
	c.revision = reply.Header.Revision
	return nil
}

func (c *caller) get(l *loop, key string, options ...clientv3.OpOption) error {
	reply, err := c.client.Get(l.ctx, key, options...)
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	if len(reply.Kvs) != 1 || string(reply.Kvs[0].Key) != key || len(reply.Kvs[0].Value) != l.work.valueSize {
		return fmt.Errorf("get %s: the reply is not its one value of %d bytes: %v", key, l.work.valueSize, reply)
	}
	if reply.Header.Revision < c.revision {
		return fmt.Errorf("get %s: revision %d, though %d was seen before it", key, reply.Header.Revision, c.revision)
	}
	c.revision = reply.Header.Revision
	return nil
}

func summary(callers []*caller, r report, failure error) report {
	var latencies []int64
	for _, c := range callers {
		r.Operations += c.operations
		latencies = append(latencies, c.latencies...)
	}
	if failure == nil && r.Operations == 0 {
		failure = errors.New("nothing was answered within the measured time")
	}
	if failure != nil {
		r.Failure = failure.Error()
	}
	if len(latencies) > 0 {
		slices.Sort(latencies)
		at := func(percent int) int64 { return latencies[(len(latencies)-1)*percent/100] }
		r.P50, r.P90, r.P99, r.Max = at(50), at(90), at(99), at(100)
	}
	return r
}

// randomValue is not compressible, and the same in each run.
func randomValue(size int, seed uint64) string {
	dice := rand.New(rand.NewPCG(seed, 1))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(dice.Uint32())
	}
	return string(value)
}

// cpuTime is what this process has used, in microseconds.
func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // It can only fail for a bad argument.
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Microseconds()
}
