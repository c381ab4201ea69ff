//! The labels on everything the crate makes: whose it is, what it is for, how long it may stay.

use std::{
    collections::HashMap,
    fmt, fs,
    str::FromStr,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::settings::settings;

/// The process that made a thing: an [`Owner`] as text.
pub const OWNER: &str = "dev.kubenest.owner";
/// The run it belongs to.
pub const RUN: &str = "dev.kubenest.run";
/// The cluster it belongs to, when there is one.
pub const CLUSTER: &str = "dev.kubenest.cluster";
/// What it is for: `node`, `network`, `guard`.
pub const ROLE: &str = "dev.kubenest.role";
/// When it was made, in seconds since 1970.
pub const CREATED: &str = "dev.kubenest.created";
/// When nobody needs it any more, in seconds since 1970.
pub const EXPIRES: &str = "dev.kubenest.expires";
/// `true` on what outlives its owner on purpose, else `false`.
pub const KEEP: &str = "dev.kubenest.keep";

/// Role of node images: a cache, which no sweep removes.
pub(crate) const NODE_IMAGE: &str = "node-image";

/// Role of guards.
pub(super) const GUARD: &str = "guard";

/// How roles of images end. An image's labels show on every container that anybody makes of
/// it: such a role on a container says that it is not ours.
pub(super) const IMAGE: &str = "-image";

/// How long a thing may stay when nobody can tell whether its owner lives.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// A process, named so that it is never mistaken for a later one with the same number.
///
/// As text `<host name>/<boot>-<pid namespace>/<pid>-<start ticks>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    host: String,
    boot: String,
    pid: u32,
    start: u64,
}

/// What can be said about an [`Owner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The process runs.
    Alive,
    /// The process is gone.
    Dead,
    /// It ran on another host, in another container or before the last boot.
    Unknown,
}

impl Owner {
    /// This process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            let (host, boot) = this_boot();
            Self {
                host,
                boot,
                pid,
                start: start_ticks(pid).unwrap_or(0),
            }
        })
    }

    /// Whether the process still runs, if this process can tell.
    pub fn liveness(&self) -> Liveness {
        if (&self.host, &self.boot) != (&Self::current().host, &Self::current().boot) {
            return Liveness::Unknown;
        }
        match start_ticks(self.pid) {
            Some(start) if start == self.start => Liveness::Alive,
            // Ticks are zero only where there is no /proc to look into.
            _ if self.start == 0 => Liveness::Unknown,
            _ => Liveness::Dead,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}-{}", self.host, self.boot, self.pid, self.start)
    }
}

impl FromStr for Owner {
    type Err = ();

    /// Takes exactly what [`Display`](fmt::Display) writes: a label is anybody's text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(host), Some(boot), Some(process), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let (pid, start) = process.split_once('-').ok_or(())?;
        let owner = Self {
            host: host.to_owned(),
            boot: boot.to_owned(),
            pid: pid.parse().map_err(drop)?,
            start: start.parse().map_err(drop)?,
        };
        if owner.to_string() == text {
            Ok(owner)
        } else {
            Err(())
        }
    }
}

/// The labels of one thing to be made.
#[derive(Debug, Clone)]
pub struct Labels {
    role: String,
    cluster: Option<String>,
    lifetime: Duration,
    keep: bool,
}

impl Labels {
    /// Labels of a thing of this role that belongs to this process and run.
    pub fn new(role: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            cluster: None,
            lifetime: LIFETIME,
            keep: false,
        }
    }

    /// It belongs to this cluster.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// How long it may stay when nobody can tell whether its owner lives; two hours if unset.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// It outlives its owner: only its name, or `clean` of everything, removes it.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The labels as the engine takes them.
    pub fn map(&self) -> HashMap<String, String> {
        let now = unix_now();
        let mut map = HashMap::from([
            (OWNER.to_owned(), Owner::current().to_string()),
            (RUN.to_owned(), settings().run.as_str().to_owned()),
            (ROLE.to_owned(), self.role.clone()),
            (CREATED.to_owned(), now.to_string()),
            (
                EXPIRES.to_owned(),
                (now + self.lifetime.as_secs()).to_string(),
            ),
            // Said either way: a container would take over what its image's label says.
            (KEEP.to_owned(), self.keep.to_string()),
        ]);
        if let Some(cluster) = &self.cluster {
            map.insert(CLUSTER.to_owned(), cluster.clone());
        }
        map
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Host name, and boot with process namespace: a process number means nothing elsewhere.
fn this_boot() -> (String, String) {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let host = read("/proc/sys/kernel/hostname").replace('/', "-");
    let boot: String = read("/proc/sys/kernel/random/boot_id")
        .chars()
        .take(8)
        .collect();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let namespace: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    (host, format!("{boot}-{namespace}"))
}

/// When a living process started, in clock ticks since boot.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses; fields count from its end.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    // A zombie holds nothing any more: its parent just has not looked yet.
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_the_way_through_a_label() {
        let owner = Owner::current();
        assert_eq!(owner.to_string().parse::<Owner>().as_ref(), Ok(owner));
        assert_eq!(owner.liveness(), Liveness::Alive);
    }

    #[test]
    fn a_reused_process_number_is_another_owner() {
        let mut owner = Owner::current().clone();
        owner.start += 1;
        assert_eq!(owner.liveness(), Liveness::Dead);
    }

    #[test]
    fn nothing_is_said_about_other_hosts_and_boots() {
        for text in ["elsewhere/0a1b2c3d-1/1-1", "elsewhere/-/7-0"] {
            assert_eq!(text.parse::<Owner>().unwrap().liveness(), Liveness::Unknown);
        }
        let mut owner = Owner::current().clone();
        owner.boot = "00000000-1".into();
        assert_eq!(owner.liveness(), Liveness::Unknown);
    }

    #[test]
    fn foreign_text_is_no_owner() {
        for text in [
            "",
            "a",
            "a/b/c",
            "a/b/1-2/",
            "a/b/+1-2",
            "a/b/01-2",
            "a/b/1-2-3",
        ] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }

    #[test]
    fn labels_say_whose_what_and_how_long() {
        let map = Labels::new("node").cluster("a").map();
        assert_eq!(map[OWNER], Owner::current().to_string());
        assert_eq!((map[ROLE].as_str(), map[CLUSTER].as_str()), ("node", "a"));
        let number = |key: &str| map[key].parse::<u64>().unwrap();
        assert_eq!(number(EXPIRES) - number(CREATED), 7200);
        assert_eq!(map[KEEP], "false");
        assert_eq!(Labels::new("node").keep(true).map()[KEEP], "true");
    }
}
