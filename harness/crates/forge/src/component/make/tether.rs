//! Long builds that end with this process, however it ends.

use std::path::Path;

use kubenest_base::process::Command;

/// util-linux's, which Debian always has; others of that name know less.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A program the kernel kills when this process dies, `kill -9` included; where
/// there is no `setpriv`, a build outlives its caller until it is done.
pub(super) fn tethered(program: &str) -> Command {
    if !Path::new(SETPRIV).exists() {
        return Command::new(program);
    }
    Command::new(SETPRIV).args(["--pdeathsig", "KILL", "--", program])
}
