// Command etcd is etcd's own main: `go build` would name the program of the module
// go.etcd.io/etcd/server/v3 after its folder, server.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
