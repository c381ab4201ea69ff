//! Commands for long builds, which end together with this process, however it ends.

use std::path::Path;

use kubenest_base::process::Command;

/// The setpriv of util-linux, which Debian always has; other programs of this name lack the option.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A command that the kernel kills when this process dies, `kill -9` included. Where there is no
/// `setpriv`, a build outlives this process until it is done.
pub(super) fn tethered(program: &str) -> Command {
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    Command::new(SETPRIV).args(["--pdeathsig", "KILL", "--", program])
}
