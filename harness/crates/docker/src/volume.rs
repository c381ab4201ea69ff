//! Named volumes.

use bollard::query_parameters::RemoveVolumeOptions;

use super::{Docker, explain::Explain, is_gone};
use kubenest_base::Result;

impl Docker {
    /// Removes a volume. A missing volume is no error.
    ///
    /// # Errors
    /// A container has it.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let options = RemoveVolumeOptions { force: true };
        match self.raw().remove_volume(name, Some(options)).await {
            Err(error) if !is_gone(&error) => {
                Err(error).explain(|| format!("remove volume '{name}'"))
            }
            _ => Ok(()),
        }
    }
}
