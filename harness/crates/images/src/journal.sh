#!/bin/sh
# The kubelet's journal of the last ten minutes, with what it has just said, where the journal is not
# too busy to take that.
timeout 2 journalctl --sync
exec journalctl --unit=kubelet --no-pager --output=short-iso-precise --since=-10min
