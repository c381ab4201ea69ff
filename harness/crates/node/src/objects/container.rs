//! The name of a container in a pod.

use std::fmt;

/// A container of a pod: from `"pod"`, if the pod has one only, or from `("pod", "container")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerRef<'a> {
    /// The pod's name.
    pub pod: &'a str,
    /// The container's name, if it was given.
    pub container: Option<&'a str>,
}

impl<'a> From<&'a str> for ContainerRef<'a> {
    fn from(pod: &'a str) -> Self {
        Self {
            pod,
            container: None,
        }
    }
}

impl<'a> From<&'a String> for ContainerRef<'a> {
    fn from(pod: &'a String) -> Self {
        pod.as_str().into()
    }
}

impl<'a> From<(&'a str, &'a str)> for ContainerRef<'a> {
    fn from((pod, container): (&'a str, &'a str)) -> Self {
        Self {
            pod,
            container: Some(container),
        }
    }
}

impl fmt::Display for ContainerRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.container {
            Some(container) => write!(f, "container '{container}' of pod '{}'", self.pod),
            None => write!(f, "pod '{}'", self.pod),
        }
    }
}
