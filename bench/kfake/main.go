// Kfake is franz-go's fake of a Kafka cluster as a process of its own: one broker, in memory, on a port of loopback.
//
//	kfake PORT
//
// It prints one line when it listens, and ends with SIGTERM or SIGINT.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	if len(os.Args) != 2 {
		fail("usage: kfake PORT")
	}
	port, err := strconv.ParseUint(os.Args[1], 10, 16)
	if err != nil {
		fail(err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.Ports(int(port)),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(1),
	)
	if err != nil {
		fail(err)
	}
	defer cluster.Close()
	fmt.Println("kfake ready", cluster.ListenAddrs())
	<-ended
}

func fail(problem any) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(2)
}
