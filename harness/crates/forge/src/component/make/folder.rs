//! Takes folders of this machine: copies them first, so that the copy is what gets hashed and used.

use std::{fs, path::Path};

use kubenest_base::{Context, Error, Result, file::regular_files};
use kubenest_recipe::recipe::hash_folder;

/// Copies the files of a folder and refuses the copy if its hash differs from the earlier one:
/// somebody may be building in the folder.
pub(super) fn take(folder: &Path, sha256: &str, copy: &Path) -> Result<()> {
    let changed = || {
        Error::setup(format!(
            "folder '{}' changed while it was taken",
            folder.display()
        ))
        .cure("let what writes there end, then run again")
    };
    fs::create_dir_all(copy).with_context(|| format!("make '{}'", copy.display()))?;
    for file in regular_files(folder).map_err(|cause| changed().because(cause))? {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        let target = copy.join(name);
        let what = || format!("copy '{}'", file.display());
        fs::create_dir_all(target.parent().unwrap_or(copy)).with_context(what)?;
        fs::copy(&file, &target).with_context(what)?;
    }
    if hash_folder(copy)? == sha256 {
        Ok(())
    } else {
        Err(changed())
    }
}
