// Command load drives a cluster that speaks etcd's v3 API, through etcd's own client.
//
// It does one thing a run, named by -do, and prints its result as one line of JSON, the last line on stdout:
//
//	status  asks each endpoint who it is, who leads, and how far it has come;
//	fill    writes every key once, and waits until each endpoint has all of them;
//	put, get, serializable-get, mix
//	        a closed loop: each caller sends its next request when the last one was answered;
//	watch   puts in a closed loop, while watchers of those keys receive each event.
//
// A closed loop also prints "measuring" and "measured" on lines of their own, at the moments when its measured time
// begins and ends, so that whoever started it can read the servers' counters at the same moments.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	callersPerConnection = 16
	prefix               = "bench/"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	var work workload
	do := flag.String("do", "status", "status, fill, put, get, serializable-get, mix or watch")
	watchers := flag.Int("watchers", 1, "how many watches there are, evenly spread over the keys")
	endpoints := flag.String("endpoints", "", "the nodes' client URLs, with commas between them; the first is used first")
	flag.IntVar(&work.callers, "callers", 1, "how many requests are under way at once")
	flag.IntVar(&work.keys, "keys", 10_000, "how many keys there are")
	flag.IntVar(&work.valueSize, "value", 256, "bytes in a value")
	flag.DurationVar(&work.warmup, "warmup", time.Second, "how long to run before measuring")
	flag.DurationVar(&work.measured, "measured", 5*time.Second, "how long to measure")
	flag.DurationVar(&work.pause, "pause", 0, "for watch: how long a caller waits between its puts")
	flag.Parse()

	nodes := strings.Split(*endpoints, ",")
	var result any
	var err error
	switch *do {
	case "status":
		result, err = status(nodes)
	case "fill":
		result, err = fill(nodes, work)
	case "watch":
		result, err = watch(nodes, work, *watchers)
	default:
		known := false
		if work.kind, known = kinds[*do]; !known {
			return fmt.Errorf("-do %s is unknown; use status, fill, put, get, serializable-get or mix", *do)
		}
		result, err = closedLoop(nodes, work)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// connect opens one connection to each of the first count endpoints, beginning again when they run out.
// Each connection knows one endpoint only, and a request is tried once: what fails is seen, not repeated.
func connect(endpoints []string, count int) ([]*clientv3.Client, error) {
	clients := make([]*clientv3.Client, count)
	for i := range clients {
		client, err := clientv3.New(clientv3.Config{
			Endpoints:       []string{endpoints[i%len(endpoints)]},
			DialTimeout:     5 * time.Second,
			MaxUnaryRetries: 1,
			Logger:          zap.NewNop(),
		})
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", endpoints[i%len(endpoints)], err)
		}
		clients[i] = client
	}
	return clients, nil
}

type nodeStatus struct {
	Endpoint string `json:"endpoint"`
	Member   uint64 `json:"member"`
	Leader   uint64 `json:"leader"`
	Version  string `json:"version"`
	Term     uint64 `json:"term"`
	Index    uint64 `json:"index"`
	DbSize   int64  `json:"db_size"`
}

func status(endpoints []string) ([]nodeStatus, error) {
	clients, err := connect(endpoints, len(endpoints))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	nodes := make([]nodeStatus, len(endpoints))
	for i, endpoint := range endpoints {
		reply, err := clients[i].Status(ctx, endpoint)
		if err != nil {
			return nil, fmt.Errorf("status of %s: %w", endpoint, err)
		}
		nodes[i] = nodeStatus{endpoint, reply.Header.MemberId, reply.Leader, reply.Version,
			reply.RaftTerm, reply.RaftIndex, reply.DbSize}
	}
	return nodes, nil
}

type filled struct {
	Keys    int     `json:"keys"`
	Seconds float64 `json:"seconds"`
}

// fill writes all keys with 64 callers, then waits until each node answers for itself that it has them.
func fill(endpoints []string, work workload) (filled, error) {
	const callers = 64
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	clients, err := connect(endpoints, callers/callersPerConnection)
	if err != nil {
		return filled{}, err
	}
	begin := time.Now()
	errs := make(chan error, callers)
	for first := range callers {
		go func() {
			value := randomValue(work.valueSize, uint64(first))
			for key := first; key < work.keys; key += callers {
				if _, err := clients[first%len(clients)].Put(ctx, keyName(key), value); err != nil {
					errs <- fmt.Errorf("put %s: %w", keyName(key), err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			return filled{}, err
		}
	}
	took := time.Since(begin).Seconds()
	return filled{work.keys, took}, awaitAllKeys(ctx, endpoints, work.keys)
}

func awaitAllKeys(ctx context.Context, endpoints []string, keys int) error {
	clients, err := connect(endpoints, len(endpoints))
	if err != nil {
		return err
	}
	for i, client := range clients {
		for {
			reply, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
			if err != nil {
				return fmt.Errorf("count the keys of %s: %w", endpoints[i], err)
			}
			if reply.Count == int64(keys) {
				break
			}
			if reply.Count > int64(keys) {
				return fmt.Errorf("%s has %d keys after %d were written", endpoints[i], reply.Count, keys)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

func keyName(key int) string { return fmt.Sprintf("%s%08d", prefix, key) }
