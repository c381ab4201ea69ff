//! A cluster as one of several layers: what is around it, and its removal with its pod.

use super::Inventory;
use crate::cluster::{folder, nest::EnginePod, tunnel::Tunnel};
use kubenest_base::{Result, process::quote};
use kubenest_evidence as evidence;

impl Inventory {
    /// Removes the cluster with the pod in which its engine runs.
    pub(in crate::cluster) fn in_pod(mut self, pod: EnginePod) -> Self {
        self.pod = Some(pod);
        self
    }

    /// Leaves the pod of a nested cluster to what is around it.
    pub(super) fn leave_pod(&mut self) {
        if let Some(pod) = &mut self.pod {
            pod.leave();
        }
    }

    /// Removes a nested cluster from the outside: with the pod ends all that runs in it.
    pub(super) async fn remove_pod(&mut self) -> Result<()> {
        evidence::unless_ending(async {}).await;
        if let Some(subject) = &self.subject {
            subject.forget();
        }
        let removed = match self.pod.as_mut() {
            Some(pod) => pod.remove().await,
            None => Ok(()),
        };
        std::fs::remove_dir_all(folder::path(&self.site.settings, &self.site.name)).ok();
        self.forget();
        removed
    }

    /// How people look at what is kept.
    pub(in crate::cluster) fn hint(&self) -> String {
        if self.attached.is_some() {
            return format!("cluster '{}' stays for those who made it", self.site.name);
        }
        let kubeconfig = folder::kubeconfig(&self.site.settings, &self.site.name);
        let engine: String = self
            .site
            .docker
            .endpoint()
            .variables()
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={} ", quote(value)))
            .collect();
        let mut text = format!("cluster '{}' is kept; look inside with\n", self.site.name);
        let kubeconfig = quote(&kubeconfig.to_string_lossy());
        text.push_str(&format!("  export KUBECONFIG={kubeconfig}\n"));
        if self.site.around.is_some() {
            text.push_str("  # whose address ends with the process that nested the cluster\n");
        } else if let Some(Tunnel { published, .. }) = &self.tunnel {
            text.push_str(&format!(
                "  # whose address, 127.0.0.1:{published}, is on the engine's machine only; here, \
                 forward it:\n  # ssh -NL {published}:127.0.0.1:{published} THAT-MACHINE\n"
            ));
        }
        for container in &self.containers {
            text.push_str(&format!("  {engine}docker exec -it {container} bash\n"));
        }
        text.push_str(&format!(
            "and remove it with\n  kubenest down {}",
            self.site.name
        ));
        text
    }
}
