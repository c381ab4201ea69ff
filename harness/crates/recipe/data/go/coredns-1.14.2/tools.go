//go:build tools

// Package build pins the command kubenest builds from CoreDNS 1.14.2.
package build

import _ "github.com/coredns/coredns"
