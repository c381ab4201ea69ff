//! Moves the programs of a tree to their places in a component.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use kubenest_base::{Context, Error, Result, file::regular_files};
use kubenest_recipe::recipe::{Role, is_executable};

use super::super::layout::PROGRAMS;

/// The name of a role's program, if the role has only one.
pub(super) fn sole_program(role: Role) -> Option<&'static str> {
    let mut names = PROGRAMS.iter().filter(|p| p.role == role && !p.optional);
    names
        .next()
        .map(|p| p.name)
        .filter(|_| names.next().is_none())
}

/// Whether any component has a program with this name.
pub(super) fn is_program(name: &str) -> bool {
    PROGRAMS.iter().any(|program| program.name == name)
}

/// Moves every known program below `tree` to its place below `dir`.
pub(super) fn programs(tree: &Path, dir: &Path) -> Result<()> {
    let files = regular_files(tree)?;
    for program in &PROGRAMS {
        let mut found = files.iter().filter(|file| {
            file.file_name().is_some_and(|name| name == program.name) && is_executable(file)
        });
        let Some(file) = found.next() else { continue };
        if let Some(second) = found.next() {
            return Err(Error::input(format!(
                "'{}' and '{}' are both '{}'",
                file.display(),
                second.display(),
                program.name
            ))
            .cure("leave one of them out"));
        }
        let target = dir
            .join(program.role.name())
            .join(program.folder)
            .join(program.name);
        let parent = target.parent().expect("a program must have a folder");
        let what = || format!("place '{}'", target.display());
        fs::create_dir_all(parent).with_context(what)?;
        // A tree inside the entry is temporary and may be emptied; a user's folder must stay as it
        // is.
        if tree.starts_with(dir) {
            fs::rename(file, &target).with_context(what)?;
        } else {
            fs::copy(file, &target).with_context(what)?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).with_context(what)?;
    }
    Ok(())
}
